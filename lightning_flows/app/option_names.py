"""Options in messages: named as they were typed or set in a config, and only those that the command accepts."""

import inspect
import re
from collections.abc import Sequence
from contextlib import suppress

from lightning_flows.app.arguments import CONFIG, options
from lightning_flows.app.commands import COMMANDS, function
from lightning_flows.app.configs import entries, layers
from lightning_flows.errors import ConfigError

DATA_OPTIONS = "data_options"
"""Argument of a command's function for all options that start with ``--data.``."""
OPTION = r"--([a-z][\w.+]*)"
ADVICE = re.compile(rf"(?:, as in |, or |: )[^,:;]*?{OPTION}[^:;]*?(?=, or |$)")
"""The part of a message that recommends an option: the last parts, which commas separate, follow a colon."""
NAME = r"\w*_\w*\b|\w+(?= (?:is|of)\b)"
"""An argument; a name without an underscore may be a word, unless its value is stated."""


def for_command(text: str, args: Sequence[str]) -> str:
    """Return a message that names options as they were set, without advice that its command refuses."""
    typed = as_typed(without_refused(text, args[0]) if args else text, args)
    return with_place(typed, args) if typed == text else typed


def as_typed(text: str, args: Sequence[str]) -> str:
    """Name arguments in a message as on the command line that set them.

    A name without an underscore may be a word, so it is replaced only where a value is expected, or is named first.

    >>> as_typed("expected num_bins of at least 1; got 0", ["fit", "--model.flow.num_bins=0"])
    'expected --model.flow.num_bins of at least 1; got 0'
    >>> as_typed("devices is 99, but that is too many devices: use fewer", ["fit", "--trainer.devices=99"])
    '--trainer.devices is 99, but that is too many devices: use fewer'
    """
    typed: dict[str, set[str]] = {}
    for option in options(args[1:]):
        typed.setdefault(option.name.rpartition(".")[2].strip("-+"), set()).add(option.name.rstrip("+"))
    for name, given in typed.items():
        if len(given) == 1 and name.isidentifier():
            start = "" if "_" in name else r"(?:^|(?<=expected )|(?<=expected a )|(?<=expected an ))"
            text = re.sub(rf"{start}(?<![-\w.=/]){name}(?![-\w./=])", given.copy().pop(), text)
    return text


def with_place(text: str, args: Sequence[str]) -> str:
    """Start a message about an argument with the key and the config that set it, if a single one did.

    >>> with_place("expected width of at least 1; got 0", ["fit", '--config={"model": {"flow": {"width": 0}}}'])
    'model.flow.width in --config: expected width of at least 1; got 0'
    """
    subject = re.match(rf"(?:expected (?:an? )?)?({NAME})", text)
    if subject is None:
        return text
    places: dict[str, str] = {}
    for option in options(args[1:]):
        if option.name in CONFIG:
            with suppress(ConfigError):  # reported already
                for layer in layers(option.value):
                    found = [key for key, value in entries(layer.config) if not isinstance(value, dict)]
                    places |= {key: layer.name for key in found if key.rpartition(".")[2] == subject[1]}
    if len(places) != 1:
        return text
    ((key, file),) = places.items()
    return f"{key} in {file}: {text}"


def without_refused(text: str, command: str) -> str:
    """Omit advice that names an option which a command without a trainer does not have.

    The data of ``table``, for example, are checked by the classes that ``fit`` uses, whose errors name its options.

    >>> without_refused("a.png is broken: remove it, or add --data.skip_broken=true", "table")
    'a.png is broken: remove it'
    >>> without_refused("a.png exists: choose another file, or add --overwrite", "figure")
    'a.png exists: choose another file, or add --overwrite'
    """
    if command not in COMMANDS:
        return text
    known = accepted_options(command)
    for found in reversed(list(ADVICE.finditer(text))):
        names = re.findall(OPTION, found[0])
        if any(name.rstrip(".") not in known and name.partition(".")[0] + "." not in known for name in names):
            text = text[: found.start()] + text[found.end() :]
    return text


def accepted_options(command: str) -> set[str]:
    """Names of the options of a command without a trainer; ``data.`` stands for all that start with it."""
    names = set(inspect.signature(function(command)).parameters)
    return names | ({"data."} if DATA_OPTIONS in names else set())
