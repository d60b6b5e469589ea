"""Values nested in mappings and lists."""

from collections.abc import Iterator, Mapping
from typing import Any


def leaves(value: Any, max_depth: int, max_values: int, error: Exception) -> Iterator[Any]:
    """All values other than containers, and the keys of mappings; ``error`` is raised beyond the limits.

    Shared containers count each time they occur, as YAML's aliases do: a few lines can stand for billions of values.

    >>> sorted(leaves({"a": [1, (2,)]}, 3, 10, ValueError()), key=str)
    [1, 2, 'a']
    """
    waiting, count = [(value, 0)], 0
    while waiting:
        each, depth = waiting.pop()
        count += 1
        if depth > max_depth or count > max_values:
            raise error
        if isinstance(each, Mapping):
            waiting += [(item, depth + 1) for pair in each.items() for item in pair]
        elif isinstance(each, list | tuple | set | frozenset):
            waiting += [(item, depth + 1) for item in each]
        else:
            yield each
