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


def listed(value: Any) -> list[Any]:
    """Arguments that may be one value or several, as a list; None and False stand for none.

    >>> listed("a"), listed(("a", "b")), listed(None)
    (['a'], ['a', 'b'], [])
    """
    if isinstance(value, list | tuple):
        return list(value)
    return [] if value is None or value is False else [value]


def as_lists(value: Any) -> Any:
    """A value with lists for tuples, which configs do not have, so that the two can be compared.

    >>> as_lists({"size": (8, 8)})
    {'size': [8, 8]}
    """
    if isinstance(value, list | tuple):
        return [as_lists(each) for each in value]
    return {key: as_lists(each) for key, each in value.items()} if isinstance(value, Mapping) else value
