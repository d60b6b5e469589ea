"""Curves of a run, whatever wrote them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

LARGEST = 1e30
"""Limit on the absolute values of numbers in records and charts, so that sums and differences are finite."""
Curve = list[tuple[int, float]]
"""Steps and values, in increasing order of steps."""


@dataclass(frozen=True)
class Scalars:
    """Curves by tag, and a sentence for each file that cannot be read to its end."""

    curves: dict[str, Curve] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def scalars_of(points: Mapping[str, Mapping[int, float]], problems: list[str]) -> Scalars:
    """Sort values that are given by tag and step."""
    return Scalars({tag: sorted(values.items()) for tag, values in points.items()}, problems)


def merged(*sources: Scalars) -> Scalars:
    """Join the curves of several sources; if a step is in more than one of them, the last source counts.

    >>> merged(Scalars({"a": [(1, 0.5), (2, 0.4)]}), Scalars({"a": [(2, 0.25)], "b": [(1, 1.0)]})).curves
    {'a': [(1, 0.5), (2, 0.25)], 'b': [(1, 1.0)]}
    """
    points: dict[str, dict[int, float]] = {}
    for source in sources:
        for tag, curve in source.curves.items():
            points.setdefault(tag, {}).update(curve)
    return scalars_of(points, [problem for source in sources for problem in source.problems])
