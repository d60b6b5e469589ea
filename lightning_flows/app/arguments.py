"""A command line as options and values, before any parser is built."""

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import NamedTuple

CONFIG = ("--config", "-c")


class Option(NamedTuple):
    """An option of a command line: ``args[start:stop]`` are its name and its value, ``""`` if it has none."""

    name: str
    value: str
    start: int
    stop: int


def options(args: Sequence[str]) -> Iterator[Option]:
    """Yield the options of a command line, in order.

    >>> [(name, value) for name, value, _, _ in options(["fit", "--config", "a.yaml", "--num=3", "--npy", "--dpi=9"])]
    [('--config', 'a.yaml'), ('--num', '3'), ('--npy', ''), ('--dpi', '9')]
    """
    for i, arg in enumerate(args):
        if not arg.startswith("-"):
            continue
        name, equals, value = arg.partition("=")
        separate = not equals and i + 1 < len(args) and (not args[i + 1].startswith("-") or name in CONFIG)
        yield Option(name, args[i + 1] if separate else value, i, i + 1 + separate)


def value_of(args: Sequence[str], *names: str) -> str | None:
    """Return the value of the last occurrence of any of these options, or None.

    >>> value_of(["--out=a", "--out", "b"], "--out")
    'b'
    """
    values = [option.value for option in options(args) if option.name in names]
    return values[-1] if values else None


def with_flags(args: Sequence[str], flags: Sequence[str]) -> list[str]:
    """Return the arguments with ``=true`` appended to flags that have no value.

    >>> with_flags(["--npy", "a.ckpt", "--overwrite", "false"], ["--npy", "--overwrite"])
    ['--npy=true', 'a.ckpt', '--overwrite', 'false']
    """
    return [
        f"{arg}=true" if arg in flags and after.lower() not in ("true", "false", "yes", "no") else arg
        for arg, after in zip_longest(args, args[1:], fillvalue="")
    ]


def without(args: Sequence[str], name: str) -> list[str]:
    """Return the arguments without an option and its values.

    >>> without(["--num=3", "--ckpt_path", "a.ckpt"], "--ckpt_path")
    ['--num=3']
    """
    rest = list(args)
    for option in reversed(list(options(args))):
        if option.name == name:
            del rest[option.start : option.stop]
    return rest
