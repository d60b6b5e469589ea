"""What a shell completes: commands, their options and the values of these."""

import argparse
import importlib
import io
import re
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from typing import Any, NamedTuple

from lightning_flows.app.arguments import CONFIG
from lightning_flows.app.checks import LINKED
from lightning_flows.app.commands import COMMANDS, TRAINER_COMMANDS, descriptions
from lightning_flows.app.configs import CONFIG_DIR
from lightning_flows.app.parser import BASES, class_names
from lightning_flows.checkpoints.plain import named_arguments

PROGRAM = "lightning-flows"
FILES = {
    "--config", "--ckpt_path", "--weights_from", "--images", "--out", "--runs", "ckpt_path", "--held_out", "--page",
    "--outliers", "--fashion_mnist", "--figure", "--fit_config", "--data.root", "--data.path",
    "--trainer.default_root_dir", "--trainer.logger.save_dir",
}  # fmt: skip
"""Options and arguments whose values are files or folders."""
CLASSES = {
    "model": "model",
    "model.flow": "flow",
    "model.dequantization": "dequantization",
    "model.posterior": "posterior",
    "data": "data",
    "optimizer": "optimizer",
    "lr_scheduler": "lr_scheduler",
    "trainer.logger": "logger",
    "trainer.callbacks": "callbacks",
}
"""Options whose values are classes, with their keys in ``BASES``."""
OPTION = re.compile(r"^  (?:-\w[^,]*, )?(--[\w.]+)(?: \{([\w,]+)\})?", re.M)
"""An option in a help text, and its values; before Python 3.13 a short form is followed by a metavar as well."""


class Choice(NamedTuple):
    """An option, and its values if they are few."""

    name: str
    values: tuple[str, ...] = ()


def completed_options(command: str) -> list[Choice]:
    """Return the options of a command: those in its help, and those of all classes that it accepts."""
    found = {name: tuple(values.split(",")) if values else () for name, values in OPTION.findall(_help(command))}
    if command in TRAINER_COMMANDS:
        found |= dict(_options_of_classes())
    return [Choice(name, found[name]) for name in sorted(found)]


def command_parser(files: Any, configs: Any) -> argparse.ArgumentParser:
    """Return a parser that knows only what a shell completes.

    Args:
        files: value of ``complete`` for files, in shtab's form.
        configs: the same for configs.
    """
    parser = argparse.ArgumentParser(PROGRAM)
    parser.add_argument("--version", action="store_true", help="show the version")
    commands, of_argument = parser.add_subparsers(), _arguments()
    for name, text in descriptions().items():
        command = commands.add_parser(name, help=text.replace("`", ""), add_help=False)
        positional = COMMANDS.get(name)
        first = [Choice(positional, of_argument.get(name, ()))] if positional else []
        for option, values in [*first, *completed_options(name)]:
            names = CONFIG if option in CONFIG else (option,)
            argument = command.add_argument(*names, choices=values or None)
            if option in FILES:
                argument.complete = configs if option == "--config" else files  # type: ignore[attr-defined]
    return parser


def packaged_configs() -> list[str]:
    """Return the names of the packaged configs."""
    names = (path.relative_to(CONFIG_DIR).as_posix() for path in CONFIG_DIR.rglob("*.yaml"))
    return sorted(name for name in names if not name.startswith("defaults/"))


def _arguments() -> dict[str, tuple[str, ...]]:
    """Values of the positional arguments that are not files, by command."""
    from lightning_flows.app.commands.completion import SHELLS  # these commands import nothing heavy, but each other
    from lightning_flows.app.commands.experiments import EXPERIMENTS
    from lightning_flows.app.commands.figure import NUMBERS, OTHERS

    tables = tuple(map(str, EXPERIMENTS))
    return {"figure": (*NUMBERS, *NUMBERS.values(), *OTHERS), "table": tables, "completion": SHELLS}


def _help(command: str) -> str:
    from lightning_flows.app.cli import run  # imports this command

    text = io.StringIO()
    with redirect_stdout(text), suppress(SystemExit):
        run([command, "--help"])
    return text.getvalue()


def _options_of_classes() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield options such as ``--model`` with the names of their classes, and those of each class without values."""
    for option, key in CLASSES.items():
        path, _, base = BASES[key].rpartition(".")
        module = importlib.import_module(path)
        names = [name for name in class_names(getattr(module, base)) if not name.startswith("_")]
        yield f"--{option}", tuple(names)
        for kind in (getattr(module, name) for name in names if hasattr(module, name)):
            for argument in named_arguments(kind)[0] - (LINKED.keys() if option == "model" else {"event_shape"}):
                yield f"--{option}.{argument}", ()
