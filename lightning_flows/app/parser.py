"""Parsers with errors of one or two lines: the fact first, then what to do."""

import difflib
import importlib
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from jsonargparse import ArgumentParser

from lightning_flows.app.arguments import CONFIG, options, value_of
from lightning_flows.app.configs import entries, is_text
from lightning_flows.app.terminal import one_line
from lightning_flows.app.yaml_text import load_yaml, read_yaml
from lightning_flows.errors import ConfigError
from lightning_flows.trust import why_missing

BASES = {
    "model": "lightning_flows.modules.FlowModule",
    "data": "lightning_flows.data.FlowDataModule",
    "flow": "lightning_flows.flows.Flow",
    "dequantization": "lightning_flows.dequantization.Dequantization",
    "posterior": "lightning_flows.posteriors.Posterior",
    "optimizer": "torch.optim.Optimizer",
    "lr_scheduler": "torch.optim.lr_scheduler.LRScheduler",
    "logger": "lightning.pytorch.loggers.Logger",
    "callbacks": "lightning.pytorch.Callback",
}
"""Base class of an option's classes, by the last component of the option's name."""

MISSING = {
    "fit": "fit needs a config: pass --config demo.yaml, or another one that the README lists",
    "benchmark": "benchmark needs a config or a checkpoint: pass --config csf.yaml, or --ckpt_path FILE",
    "sample": "sample needs a checkpoint: pass its path",
    "figure": "figure needs the name of a figure, such as 1 or samples",
    "table": "table needs the number of a table: 1, 2, 3 or 4, or vae",
}

NOISE = r"Does not validate|Subtypes:|Errors:|Expected a <class 'NoneType'>|Given value|Expected a path but|Parser key"
OLD_UNKNOWN = r"Validation failed: Key '(?=[^']+' is not expected)"
"""Start of the message about an unknown option before jsonargparse 4.47."""
EXPECTED = r"Expected an? (?:<class ')?([\w.]+)(?:'>)?"


def program() -> str:
    """Return the command that started this process, as a user types it."""
    return "lightning-flows" if Path(sys.argv[0]).name == "lightning-flows" else "python -m lightning_flows"


class ShortErrors:
    """Parser mixin that prints what is wrong in one line, and where options are listed, and exits with status 2.

    The command line is an attribute of the class, because jsonargparse creates nested parsers of the same class.
    """

    command = ""
    command_line: Sequence[str] = ()
    finder: Any = None
    """Import finder whose attribute ``refused`` explains why a module was not imported, if any."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"prog": f"{program()} {self.command}", **kwargs})  # jsonargparse sets none

    @classmethod
    def of(cls, command: str, args: Sequence[str], finder: Any = None) -> Any:
        """Return the class for parsing this command line."""
        cls.command, cls.command_line, cls.finder = command, args, finder
        return cls

    def format_help(self, *args: Any) -> str:
        """Return the help, with full names of options: of a nested class, jsonargparse omits all but the last part."""
        text: str = super().format_help(*args)  # type: ignore[misc]
        for name in (each.name.removesuffix(".help") for each in options(self.command_line) if ".help" in each.name):
            text = re.sub(rf"--{re.escape(name.rpartition('.')[2])}(?=[.\s])", name, text) if "." in name else text
        return text

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print and exit."""
        if text := getattr(self.finder, "refused", None):
            print(f"error: {text}", file=sys.stderr)
            sys.exit(2)
        known = list(self.get_defaults(skip_validation=True).keys())  # type: ignore[attr-defined]
        text = explained(message, self.command, self.command_line, known)
        print(f"error: {one_line(text)}\ntip: `{self._help_on(text)}` lists the options", file=sys.stderr)
        sys.exit(2)

    def _help_on(self, text: str) -> str:
        """Return the command that lists the options that an error is about."""
        command = f"{program()} {self.command}"
        component = r"(?:\.(flow|dequantization|posterior)\b|\.)"
        found = re.match(rf"(?:--)?(model|data|optimizer|lr_scheduler)(?:\.init_args)?{component}", text)
        if found is None:
            return f"{command} --help"
        if found[2]:  # the parser knows a component's options only once it knows the class of the model
            module = "VAEModule" if found[2] == "posterior" else "ImageFlowModule"
            return f"{command} --model {module} --model.{found[2]}.help CLASS"
        return f"{command} --{found[1]}.help CLASS"


class CommandParser(ShortErrors, ArgumentParser):
    """Parser of a command without a trainer."""

    def _help_on(self, text: str) -> str:
        return f"{program()} {self.command} --help"


def explained(message: str, command: str, args: Sequence[str], known: Sequence[str]) -> str:
    """Reword a parser's error in one line.

    >>> explained("Option 'hiden' is not accepted", "fit", ["--model.hiden=3"], ["hidden", "depth"])
    '--model.hiden is not an option; did you mean --model.hidden?'
    >>> explained('Parser key "width":\\n  Expected a <class \\'int\\'>. Got value: x', "fit", ["--model.width=x"], [])
    '--model.width: expected int; got x'
    """
    for option in options(args):
        if option.name.rpartition(".")[2].strip("-+") in BASES and option.value.endswith(".py"):  # it is read as YAML
            return f"{option.name}: {why_missing(option.value)}"
    if required := re.search(r'required: (.*)|[Kk]ey "(.*)" is required', message):
        missing = re.findall(r"\w+", required[1] or required[2])
        if not {"model", "data", "ckpt_path", "name", "number"} & set(missing):
            where = " for the flow: annotate flow in your module as Callable[[Sequence[int]], Flow]"
            have = "are missing and have" if len(missing) > 1 else "is missing and has"
            return f"{' and '.join(missing)} {have} no default{where if missing == ['event_shape'] else ''}"
        if command == "fit" and value_of(args, *CONFIG) is not None:
            return f"{' and '.join(missing)} is missing: pass --{missing[0]}, or a --config that sets it"
        return MISSING.get(command, f"{command} needs a checkpoint: pass --ckpt_path FILE")
    message = re.sub(OLD_UNKNOWN, "Option '", message)
    message = re.sub(r"Group '([^']+)' does not accept (?:option|nested key) '([^']+)'", r"Option '\1.\2'", message)
    if unknown := re.search(r"(?:Option|[Uu]nrecognized arguments:) '?(-*)([^\s'=]+)", message):
        return _unknown(unknown[1] + unknown[2], args, known)
    key = (re.search(r'[Kk]ey "([^"]+)"', message) or ["", ""])[1]
    place = _place(key, args)[0] if key else ""
    if path := re.search(r"Expected a dot import path string: ?(\S*)", message):
        return _unknown_class(place, key, path[1])
    if found := re.search(r"module '([\w.]+)' has no attribute '(\w+)'|No module named '([\w.]+)'", message):
        return f"{place}: {why_missing(f'{found[1]}.{found[2]}' if found[1] else f'{found[3]}.')}"
    given = (re.search(r"(?:Got|Given) value: (.*)", message, re.DOTALL) or ["", ""])[1].strip()
    if "without class_path" in message:
        return f"{key} has init_args before it has a class_path: give the config with its class_path first"
    if base := re.search(r"does not correspond to a subclass of (\w+)", message):
        return f"{place} is {given}, which is not a subclass of {base[1]}"
    if literals := re.findall(r"Literal\[([^]]*)\]", message):
        allowed = dict.fromkeys(each.strip(" '") for group in literals for each in group.split(","))
        return f"{place} is {given}, which is not one of {', '.join(allowed)}"
    if nested := re.match(r"NestedArg\(key='([\w.]+)'", given):
        if "is abstract" in message:
            return f"{key} is missing: pass --{key}, or a --config that sets it"
        return f"{place}.{nested[1]} is not an option; did you mean {place}?"
    message = re.sub(r"Type .* expects a function or a callable class: ", "", message)
    lines = [line.strip().removeprefix("- ") for line in message.splitlines()]
    kept = [re.sub(r"\.? ?Got value: .*", "", line) for line in lines if line and not re.match(NOISE, line)]
    text = " or ".join(dict.fromkeys(re.sub(EXPECTED, r"expected \1", line) for line in kept))
    text = re.sub(r"expected list or (\w+)", r"expected \1 or list", text.replace(" or expected ", " or "))
    text = re.sub(r" or list\b", " or a list such as '[1,2]'", text)
    return f"{place}: {text}{f'; got {given}' if given and 'expected' in text else ''}".removeprefix(": ")


def _unknown(name: str, args: Sequence[str], known: Sequence[str]) -> str:
    """Return the error for an option that does not exist: where it was set, and which one may be meant."""
    if not name.startswith("-") and (name in args or not re.fullmatch(r"[\w.+-]+", name)):
        option = {".yaml": "--config", ".ckpt": "--ckpt_path"}.get(Path(name).suffix)
        return f"{name} is not an option{f': put {option} before it' if option else ''}"
    plain = name.lstrip("-")
    inner = not name.startswith("-") or any(option.name.endswith(f".{plain}") for option in options(args))
    place, before = _place(plain, args) if inner else (name, "")
    names = [each.removeprefix(before.strip("-")) for each in known]
    short = [each for each in names if "." not in each]
    if close := _closest(plain, names) or _closest(plain.rpartition(".")[2], short):
        return f"{place} is not an option; did you mean {before or name[: -len(plain)]}{close}?"
    return f"{place} is not an option{' of the class in use' if before and not before.startswith('--trainer') else ''}"


def _unknown_class(place: str, key: str, name: str) -> str:
    """Return the error for a class that does not exist, with those that do."""
    section = key.split(".")[-1]
    if section not in BASES:
        return f"{place} is {name}, which is not a valid value"
    module, _, base = BASES[section].rpartition(".")
    names = [each for each in class_names(getattr(importlib.import_module(module), base)) if each != base]
    if name in names:
        return f"{place} is {name}, which the class in use does not take"
    what = f"{place} is {name}, which is not a class" if name else f"{place} is empty"
    if close := _closest(name, names):
        return f"{what}; did you mean {close}?"
    return f"{what}: choose {', '.join(names)}, or the path of your own class"


def _closest(name: str, names: Sequence[str]) -> str | None:
    """Return the name that was probably meant, if any.

    >>> _closest("wandb", ["CSVLogger", "WandbLogger"]), _closest("widht", ["depth", "width"])
    ('WandbLogger', 'width')
    >>> _closest("Adma", ["Adamax", "Adam"])
    'Adam'
    """
    lower = {each.lower(): each for each in names}
    close = difflib.get_close_matches(name.lower(), lower)
    close.sort(key=lambda each: sorted(each) != sorted(name.lower()))  # swapped letters first
    within = [each for each in lower if len(name) > 3 and name.lower() in each]
    return lower[close[0]] if close else lower[within[0]] if len(within) == 1 else None


def class_names(base: type) -> list[str]:
    """Return the names of the concrete subclasses of a base, in alphabetical order."""
    names = set() if getattr(base, "__abstractmethods__", None) or base.__name__[:1] == "_" else {base.__name__}
    children: list[type] = type.__subclasses__(base)
    for child in children:
        names.update(class_names(child))
    return sorted(names)


def _place(name: str, args: Sequence[str]) -> tuple[str, str]:
    """Return where an argument was set, the option as typed or a key and its file, and what precedes its name there."""
    given = list(options(args))
    for option in reversed(given):
        if option.name == f"--{name}" or option.name.endswith(f".{name}"):
            return option.name, option.name[: -len(name)]
    for option in reversed(given):
        if option.name in CONFIG and (key := _key_of(name, _read(option.value))):
            first = option.value.partition("\n")[0].removeprefix("# ")
            file = "the checkpoint" if first.lstrip().startswith("{") else first
            return f"{key} in {file}", key[: -len(name)]
    return (f"--{name}", "--") if name.partition(".")[0] in (*BASES, "trainer") else (name, "")


def _read(value: str) -> Any:
    try:
        return load_yaml(value, "") if is_text(value) else read_yaml(Path(value))
    except ConfigError:  # reported already
        return None


def _key_of(name: str, config: Any) -> str | None:
    """Return the first key in a config that stands for an argument, whose name may omit init_args."""
    for path, _ in entries(config):
        if path == name or any(each.endswith(f".{name}") for each in (path, path.replace(".init_args", ""))):
            return path
    return None
