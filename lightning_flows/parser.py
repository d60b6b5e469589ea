"""The command line's parser: short errors, and help in sections."""

import re
import sys
from typing import NoReturn

from lightning.pytorch.cli import LightningArgumentParser

from lightning_flows.datamodules import FlowDataModule
from lightning_flows.modules import FlowModule

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

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print what is wrong and end with status 2."""
        program = self.prog.replace(" [options]", "")
        if missing := re.search(r"arguments? (?:are|is) required: (\w+)\.(\w+)", message):
            program += f" {missing[1]}"
            if missing[2] in ("data", "model"):
                message = MISSING.get(missing[1], MISSING["test"])
        print(f"error: {shorten(message)}", file=sys.stderr)
        print(f"tip: options are listed by `{program} --help`", file=sys.stderr)
        sys.exit(2)

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
