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


def with_flags(args: Sequence[str], flags: Sequence[str], *, positional: bool = True) -> list[str]:
    """Return the arguments with ``=true`` appended to flags that have no value.

    A word after a flag is its value if it is a boolean, or if the command has no positional arguments.

    >>> with_flags(["--npy", "a.ckpt", "--overwrite", "false"], ["--npy", "--overwrite"])
    ['--npy=true', 'a.ckpt', '--overwrite', 'false']
    >>> with_flags(["--compile", "eager", "--json"], ["--compile", "--json"], positional=False)
    ['--compile', 'eager', '--json=true']
    """

    def is_value(word: str) -> bool:
        is_word = word != "" and not word.startswith("-")
        return word.lower() in ("true", "false", "yes", "no") or (is_word and not positional)

    pairs = zip_longest(args, args[1:], fillvalue="")
    return [f"{arg}=true" if arg in flags and not is_value(after) else arg for arg, after in pairs]


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
