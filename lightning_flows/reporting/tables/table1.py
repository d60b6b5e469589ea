"""Table 1: invertible linear layers in a generative flow."""

import statistics
from collections.abc import Sequence
from typing import NamedTuple

from lightning_flows.errors import DataError
from lightning_flows.reporting.tables.compare import check_comparable, measured_on, metric, runtime
from lightning_flows.reporting.tables.curves import all_step_seconds, is_one_clock, is_one_hardware, is_one_kind
from lightning_flows.reporting.tables.rates import chosen, rates_note
from lightning_flows.reporting.tables.runs import Run
from lightning_flows.reporting.tables.table import NONE, Table, mean_and_deviation, median


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
HEADER = [
    "mixing", "seeds", "−ELBO", "paper", "NLL", "paper", "parameters (M)", "paper",
    "training %", "paper", "sampling %", "paper", "peak memory (MiB)",
]  # fmt: skip


def table1(runs: Sequence[Run]) -> Table:
    """Table 1, with a note on what it was measured on.

    Bounds and NLL in bits per dimension, mean ± standard deviation over seeds; runtimes in % of those with 1x1
    convolutions, medians over seeds, if both are from the same hardware; training steps and peak memory only if they
    are of one kind, see :func:`is_one_kind`. Raises: DataError if no
    run belongs to it, or runs are not comparable.
    """
    groups = {key: chosen(group) for key, group in _found(runs).items()}
    every = [run for each in groups.values() for run in each]
    rows = [
        [
            _name(kind, pointwise), str(len(group)),
            mean_and_deviation(metric(group, "test/bpd")), paper.bound,
            mean_and_deviation(metric(group, "test/nll_bpd")), paper.nll,
            f"{group[0].test['num_parameters'] / 1e6:.3f}", str(paper.parameters),
            _percent(all_step_seconds(group), all_step_seconds(base) if is_one_clock([*group, *base]) else []),
            str(paper.training),
            _percent(_sampling(group), _sampling(base) if is_one_hardware([*group, *base]) else []),
            str(paper.sampling),
            median(runtime(group, "peak_memory_bytes", scale=2**-20) if is_one_kind(every) else []),
        ]
        for (kind, pointwise), group in groups.items()
        for paper, base in [(PAPER[kind], groups.get(("conv1x1", pointwise), []))]
    ]  # fmt: skip
    named = [(_name(*key), group) for key, group in groups.items()]
    return Table(HEADER, rows, rates_note(named) + measured_on(every))


def rows1(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Runs of the rows of Table 1 by their names, in order, at all learning rates. For errors see :func:`table1`."""
    return {_name(*key): group for key, group in _found(runs).items()}


def _name(kind: str, pointwise: bool) -> str:
    return PAPER[kind].name + (", pointwise nets" if pointwise else "")


def _found(runs: Sequence[Run]) -> dict[tuple[str, bool], list[Run]]:
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


def _sampling(runs: Sequence[Run]) -> list[float]:
    return runtime(runs, "sample_seconds_per_image")


def _percent(seconds: Sequence[float], base: Sequence[float]) -> str:
    """Median in % of that of the base."""
    unit = statistics.median(base) if base else 0.0
    return median([100 * value / unit for value in seconds], digits=1) if unit else NONE
