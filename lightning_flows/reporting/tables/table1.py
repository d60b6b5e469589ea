"""Table 1: invertible linear layers in a generative flow."""

import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from lightning_flows.errors import DataError
from lightning_flows.reporting.tables.compare import check_comparable, measured_on, metric
from lightning_flows.reporting.tables.rates import chosen, rates_note
from lightning_flows.reporting.tables.runs import Run
from lightning_flows.reporting.tables.table import Table, mean_and_deviation, median
from lightning_flows.reporting.tables.timing import MEMORY, SAMPLING, STEP, Measure, times_note


class PaperRow(NamedTuple):
    """The paper's results: bits per dimension on CIFAR-10, runtimes in % of 1x1, millions of parameters."""

    name: str
    bound: str
    nll: str
    training: float
    sampling: float
    parameters: float


PAPER = {
    "conv1x1": PaperRow("1x1", "3.285 ± 0.008", "3.266 ± 0.007", 100.0, 100.0, 57.2),
    "emerging": PaperRow("emerging", "3.245 ± 0.002", "3.226 ± 0.002", 103.2, 1223.5, 55.8),
    "woodbury": PaperRow("Woodbury", "3.247 ± 0.003", "3.228 ± 0.003", 133.2, 135.4, 55.9),
    "conv_exponential": PaperRow("convolution exponential", "3.237 ± 0.002", "3.218 ± 0.003", 104.6, 115.8, 55.9),
}
Row = tuple[str, bool]
"""Mixing layer, and whether the nets of the couplings are pointwise."""
HEADER = [
    "mixing", "seeds", "−ELBO", "paper", "NLL", "paper", "parameters (M)", "paper",
    "training %", "paper", "sampling %", "paper", "peak memory (MiB)",
]  # fmt: skip


def table1(runs: Sequence[Run]) -> Table:
    """Table 1, with a note on what it was measured on.

    Bounds and NLL in bits per dimension, mean ± standard deviation over seeds; runtimes in % of those with 1x1
    convolutions, medians over seeds. Runtimes and peak memory are those of runs that were measured in the same way, see
    :func:`alike`. Raises: DataError if no run belongs to it, or runs are not comparable.
    """
    groups = {key: chosen(group) for key, group in _found(runs).items()}
    every = [run for each in groups.values() for run in each]
    training, sampling = _percent(groups, STEP), _percent(groups, SAMPLING)
    memory = MEMORY.of(groups)
    rows = [
        [
            _name(*key), str(len(group)),
            mean_and_deviation(metric(group, "test/bpd")), paper.bound,
            mean_and_deviation(metric(group, "test/nll_bpd")), paper.nll,
            f"{group[0].test['num_parameters'] / 1e6:.3f}", str(paper.parameters),
            training[key], str(paper.training), sampling[key], str(paper.sampling), median(memory[key]),
        ]
        for key, group in groups.items()
        for paper in [PAPER[key[0]]]
    ]  # fmt: skip
    named = [(_name(*key), group) for key, group in groups.items()]
    times = [times_note(_of_nets(groups, pointwise)) for pointwise in (False, True)]
    note = " ".join([measured_on(every), *dict.fromkeys(filter(None, times))])
    return Table(HEADER, rows, rates_note(named) + note)


def rows1(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Runs of the rows of Table 1 by their names, in order, at all learning rates. For errors see :func:`table1`."""
    return {_name(*key): group for key, group in _found(runs).items()}


def _name(kind: str, pointwise: bool) -> str:
    return PAPER[kind].name + (", pointwise nets" if pointwise else "")


def _found(runs: Sequence[Run]) -> dict[Row, list[Run]]:
    """Comparable runs of the rows by mixing layer and kind of nets."""
    runs = [run for run in runs if run.flow == "GlowFlow" and _kind(run) in PAPER and "test/bpd" in run.metrics]
    if not runs:
        raise DataError("no run belongs to table 1: none has a GlowFlow and a test/bpd")
    check_comparable(runs, free=lambda run: {"mixing", "growth", "width", "kernel_size", "lr"})
    keys = [(kind, pointwise) for pointwise in (False, True) for kind in PAPER]
    groups = {key: [run for run in runs if (_kind(run), run.is_pointwise) == key] for key in keys}
    return {key: group for key, group in groups.items() if group}


def _kind(run: Run) -> str:
    return str(run.flow_arguments.get("mixing"))


def _of_nets(groups: Mapping[Row, Sequence[Run]], pointwise: bool) -> dict[Row, Sequence[Run]]:
    return {row: group for row, group in groups.items() if row[1] == pointwise}


def _percent(groups: Mapping[Row, Sequence[Run]], measure: Measure) -> dict[Row, str]:
    """Median time of each row in % of that of 1x1 convolutions with the same kind of nets."""
    cells: dict[Row, str] = {}
    for pointwise in (False, True):
        times = measure.of(_of_nets(groups, pointwise))
        base = times.get(("conv1x1", pointwise))
        unit = statistics.median(base) if base else 0.0
        cells |= {row: median([100 * each / unit for each in times[row]] if unit else [], digits=1) for row in times}
    return cells
