"""The command line's parser: short errors, and help in sections."""

import difflib
import inspect
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser

from lightning_flows.app.configs import configs_first, find_configs, given_config
from lightning_flows.data import FlowDataModule
from lightning_flows.errors import ConfigError, UsageError
from lightning_flows.modules import FlowModule
from lightning_flows.modules.checkpoint import import_class
from lightning_flows.trust import vetting

PROGRAM = "python -m lightning_flows"

SECTIONS = {
    "model": "model: `--model.help NAME` lists the options of one",
    "data": "data: `--data.help NAME` lists the options of one",
    "trainer": "trainer: Lightning's options, behind those above",
}
CHECKPOINT = {
    "fit": "checkpoint to go on from, or `last` for that of the newest run of this name, if there is one.",
    "validate": "checkpoint of a trained model, which needs no other options.",
}
"""Help for ``--ckpt_path`` where Lightning's own does not hold here."""


MISSING = {
    "fit": "expected a config; got none: give --config demo.yaml, or another that the README lists",
    "test": "expected a checkpoint; got none: give --ckpt_path FILE",
}
"""What to say where model and data are missing, which one option brings."""


class FlowArgumentParser(LightningArgumentParser):
    """LightningCLI's parser, with errors of a few lines instead of the whole usage, and help in sections."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("allow_abbrev", False)  # other code looks for options by their full name
        super().__init__(*args, **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print what is wrong and end with status 2."""
        finder = vetting()
        if finder is not None and finder.refused:
            print(f"error: {finder.refused}", file=sys.stderr)
            sys.exit(2)
        args = finder.args if finder is not None else []
        if missing := re.search(r"arguments? (?:are|is) required: (\w+)\.(\w+)", message):
            if missing[2] in ("data", "model"):
                message = MISSING.get(missing[1], MISSING["test"])
            else:
                message = message.replace(f"{missing[1]}.{missing[2]}", missing[2])
        elif unknown := re.search(r"(?:Option|accept option|unrecognized arguments:) '?(-*)([^\s'=]+)", message):
            message = unknown_option(unknown[1] + unknown[2], args, self._known())
        print(f"error: {shorten(message)}", file=sys.stderr)
        print(f"tip: options are listed by `{help_command(args, message)}`", file=sys.stderr)
        sys.exit(2)

    def _known(self) -> list[str]:
        """Names of the options of this parser and its subcommands."""
        names = [name for action in self._actions for name in (action.dest, *action.option_strings)]
        children = getattr(self, "_subcommands_action", None)
        for child in children.choices.values() if children else []:
            names += child._known()
        return names

    def arrange_help(self, subcommand: str) -> None:
        """Let a trainer's subcommand list its short sections first, and the fifty options of the trainer last."""
        self.usage = "%(prog)s [--config FILE]... [--ckpt_path FILE] [--SECTION.OPTION VALUE]..."
        groups, titles = self.groups or {}, {subcommand: subcommand, **SECTIONS}
        for key, title in titles.items():
            groups[key].title = title
        arranged = [groups[key] for key in titles]
        self._action_groups = [group for group in self._action_groups if group not in arranged] + arranged
        if subcommand in CHECKPOINT:
            self._option_string_actions["--ckpt_path"].help = CHECKPOINT[subcommand]


def unknown_option(name: str, args: Sequence[str], known: Sequence[str]) -> str:
    """Say where an unknown option was given, and which one may be meant.

    >>> unknown_option("hiden", ["fit", "--model.hiden=3"], ["hidden", "depth"])
    '--model.hiden is no option: did you mean --model.hidden?'
    """
    where, before = (name, "") if name.startswith("-") else _place(name, args)
    if not re.fullmatch(r"-*[\w.+-]+", name) or name.endswith(".ckpt"):
        return f"{name} stands where an option should: give it behind the name of one, such as --ckpt_path"
    plain = name.lstrip("-")
    names = [each.lstrip("-") for each in known]
    close = difflib.get_close_matches(plain, names, 1) or difflib.get_close_matches(
        plain.rpartition(".")[2], [each for each in names if "." not in each], 1
    )
    if close:
        return f"{where} is no option: did you mean {before or (name[: -len(plain)] or '')}{close[0]}?"
    if not before or before.startswith("--trainer"):
        return f"{where} is no option"
    class_names = {"model": FlowModule, "data": FlowDataModule}
    section = before.strip("-").partition(".")[0]
    others = f", or is one of another class: --{section}=CLASS, among {', '.join(_names(class_names[section]))}"
    return f"{where} is no option of the class that is used{others if section in class_names else ''}"


def _place(name: str, args: Sequence[str]) -> tuple[str, str]:
    """Where an argument of a class was given: the option as typed, or the file and its key."""
    for arg in args:
        option = arg.partition("=")[0]
        if option.startswith("--") and option.endswith(f".{name}"):
            return option, option[: -len(name)]
    for i, arg in enumerate(args):
        option, equals, value = arg.partition("=")
        if option in ("--config", "-c"):
            value = value if equals else (args[i + 1] if i + 1 < len(args) else "")
            if key := _key_of(name, given_config(value), ""):
                file = "a config" if value.lstrip().startswith("{") else value
                return f"{key} in {file}", key[: -len(name)]
    return name, ""


def _key_of(name: str, config: Any, above: str) -> str | None:
    for key, value in config.items() if isinstance(config, dict) else ():
        path = f"{above}.{key}".lstrip(".")
        if path == name or str(key) == name or path.endswith(f".{name}"):
            return path
        if found := _key_of(name, value, path):
            return found
    return None


def help_command(args: Sequence[str], message: str) -> str:
    """The command that lists the options a message is about."""
    command = (
        f"{PROGRAM} {args[0]}" if args and not args[0].startswith("-") and "invalid choice" not in message else PROGRAM
    )
    for section in ("model", "data"):
        if f"--{section}." in message or message.startswith(f"{section}.init_args"):
            return f"{command} --{section}.help NAME"
    return f"{command} --help"


def read_configs(args: Sequence[str]) -> list[str]:
    """Arguments with their configs located and merged; exits with status 2 if one cannot be read."""
    try:
        return configs_first(find_configs(args))
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def shorten(message: str) -> str:
    """Keep what a person can act on of a message about a value that fits none of the allowed types.

    >>> print(shorten('Parser key "model":\\n  Subtypes: [1, 2]\\n  Errors:\\n    - Option \\'x\\' is not accepted'))
    Parser key "model": Option 'x' is not accepted
    """
    noise = r"Does not validate|Subtypes:|Errors:|- Expected a <class 'NoneType'>|Given value"
    lines = [line.strip().removeprefix("- ") for line in message.splitlines() if not re.match(rf"\s*({noise})", line)]
    text = " ".join(lines)
    if unknown := re.search(r'"?(model|data)"?.*Expected a dot import path string: (\S+)', text):
        base = {"model": FlowModule, "data": FlowDataModule}[unknown[1]]
        known = ", ".join(_names(base))
        text = f"expected --{unknown[1]} to be one of {known} or the path of such a class; got {unknown[2]}"
    return text


def _names(base: type) -> list[str]:
    """Names of the concrete classes below a base, in alphabetical order."""
    names = set() if getattr(base, "__abstractmethods__", None) else {base.__name__}
    children: list[type] = type.__subclasses__(base)
    for child in children:
        names.update(_names(child))
    return sorted(names)


def refuse_null(config: Namespace) -> None:
    """Refuse null for an argument of the model or the data that takes none; the parser accepts it anywhere.

    Raises: UsageError.
    """
    for section in ("model", "data"):
        parameters: dict[str, inspect.Parameter] = {}
        for kind in reversed(getattr(import_class(config[section].class_path), "__mro__", ())):
            parameters |= inspect.signature(kind.__init__).parameters if "__init__" in vars(kind) else {}
        for name, value in vars(config[section].get("init_args") or Namespace()).items():
            parameter = parameters.get(name)
            optional = parameter is None or parameter.default in (None, inspect.Parameter.empty)
            if value is None and not optional and "None" not in str(parameters[name].annotation):
                raise UsageError(f"{section}.{name} is null: give a value, or leave it out for its default")
