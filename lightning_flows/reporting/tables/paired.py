r"""Paired differences of two rows of a table: the same items, with the same noise.

For item i and the seeds S that both rows have,

.. math:: d_i = \frac1{|S|}\sum_{s\in S}(v_{s,i} - v^{first}_{s,i}),\qquad
    \Delta = \frac1n\sum_i d_i,\qquad
    \mathrm{s.e.} = \sqrt{\frac1{n(n-1)}\sum_i(d_i-\Delta)^2}.

The items are the sample: what both rows have in common, such as the difficulty of an item, cancels, so that the
standard error is far below that of either mean. It says nothing about other seeds; their effect is the deviation of
:math:`\Delta_s = \frac1n\sum_i(v_{s,i} - v^{first}_{s,i})` over :math:`s\in S`.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lightning_flows.reporting.tables.compare import DifferError
from lightning_flows.reporting.tables.items import Items, read_items
from lightning_flows.reporting.tables.runs import Run

DRAWS = ("num_importance_samples", "importance_error")
"""Arguments of a model on which the bias of its importance-weighted likelihood depends."""


class Difference(NamedTuple):
    """Δ and its standard error over items, infinite for one; the deviation over seeds, None for one; their number."""

    mean: float
    error: float
    deviation: float | None
    num_seeds: int


def paired(row: Sequence[Run], first: Sequence[Run], name: str) -> Difference | None:
    """Paired difference row − first of the results ``name``, such as ``loss``.

    None if no seed has these results in both rows. Runs of a row have different seeds.
    Raises: DifferError if the tests were of other items, noise or, for likelihoods, numbers of draws; DataError if a
    file is broken.
    """
    differences: list[np.ndarray] = []
    known: tuple[Run, Items] | None = None
    for seed in sorted({run.seed for run in row} & {run.seed for run in first} - {None}, key=str):
        ours, theirs = (next(run for run in runs if run.seed == seed) for runs in (row, first))
        items, of_first = read_items(ours), read_items(theirs)
        if items and of_first and name in items.values and name in of_first.values:
            known = known or (theirs, of_first)
            _check_items(*known, ours, items)  # all seeds have the same
            _check_items(theirs, of_first, ours, items)
            _check_noise(theirs, of_first, ours, items, likelihood=name.startswith("nll_"))
            differences.append(items.values[name] - of_first.values[name])
    return _difference(np.stack(differences)) if differences else None


def _check_items(first: Run, of_first: Items, other: Run, of_other: Items) -> None:
    if of_first.digest != of_other.digest or not np.array_equal(of_first.index, of_other.index):
        raise DifferError(
            f"{first.folder} and {other.folder} were tested on different items: rerun `test` on the same data"
        )


def _check_noise(first: Run, of_first: Items, other: Run, of_other: Items, *, likelihood: bool) -> None:
    if of_first.seed != of_other.seed:
        raise DifferError(
            f"{first.folder} was tested with noise of seed {of_first.seed}, but {other.folder} with seed "
            f"{of_other.seed}: rerun one `test` with --seed_everything"
        )
    for key in DRAWS if likelihood else ():
        ours, theirs = (run.test["model"]["init_args"].get(key) for run in (first, other))
        if ours != theirs:
            raise DifferError(
                f"{first.folder} was tested with {key}: {ours}, but {other.folder} with {theirs}: their likelihoods "
                "have different biases; rerun one `test`"
            )


def _difference(differences: np.ndarray) -> Difference:
    """From the differences of each seed and item, ``(S, n)``."""
    of_items, of_seeds = differences.mean(0), differences.mean(1)
    num = len(of_items)
    return Difference(
        float(of_items.mean()),
        float(of_items.std(ddof=1) / num**0.5) if num > 1 else math.inf,
        float(of_seeds.std(ddof=1)) if len(of_seeds) > 1 else None,
        len(of_seeds),
    )
