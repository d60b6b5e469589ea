"""Tables 2 and 3: residual transformations, and ablations of the Sylvester layer."""

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from lightning_flows.errors import DataError
from lightning_flows.reporting.tables.compare import check_comparable, measured_on, metric
from lightning_flows.reporting.tables.curves import validations
from lightning_flows.reporting.tables.rates import chosen, rates_note
from lightning_flows.reporting.tables.runs import Run
from lightning_flows.reporting.tables.table import NONE, Table, mean_and_deviation, median
from lightning_flows.reporting.tables.timing import MEMORY, SAMPLING, STEP, alike, step_seconds, times_note


class PaperRow(NamedTuple):
    """The paper's results in bits per dimension on CIFAR-10: bound and NLL, by dequantization."""

    name: str
    numbers: Mapping[str, tuple[str, str]]


SYLVESTER = "Convolutional Sylvester"
TABLE2 = {
    "coupling": PaperRow("coupling", {"uniform": ("3.38", "3.35"), "variational": ("3.27", "3.25")}),
    "residual": PaperRow("residual", {"uniform": ("3.37", NONE), "variational": ("3.26", NONE)}),
    "residual_equal_memory": PaperRow(
        "residual, equal memory", {"uniform": ("3.44", NONE), "variational": ("3.35", NONE)}
    ),
    "csf": PaperRow(SYLVESTER, {"uniform": ("3.32", "3.29"), "variational": ("3.21", "3.19")}),
    "pixels": PaperRow("autoregressive over pixels, ours", {}),
}
CLASSES = {
    "CouplingFlow": "coupling",
    "ResidualFlow": "residual",
    "ConvSylvesterFlow": "csf",
    "PixelAutoregressiveFlow": "pixels",
}
"""Models by the class of their flow."""
OF_PIXELS = {"width", "num_blocks", "window", "head_width", "max_steps", "batch_size"}

TABLE3 = {
    "csf": PaperRow(SYLVESTER, {"variational": ("3.21", "3.19")}),
    "no_autoregressive": PaperRow("without f_AR", {"variational": ("3.44", "3.42")}),
    "no_basis": PaperRow("without basis", {"variational": ("3.27", "3.25")}),
}
DEQUANTIZATIONS = ("uniform", "variational")
EQUAL_MEMORY = {(3, 8), (3, 2), (2, 4)}
"""(levels, steps per level) of residual flows that need about as much memory as the other flows: at the paper's size,
where those have 16 steps; at the reduced size, where they have 4; and on small images, where they have 8."""
FREE = {"flow", "dequantization", "ablation", "num_importance_samples", "hidden_channels", "lr"}
OTHER = {
    "residual_equal_memory": {"steps_per_level"},
    "no_autoregressive": {"steps_per_level"},
    "pixels": OF_PIXELS,
}
"""What else may differ in a row: steps for equal memory, steps or sizes for equal parameters, length of training."""
HEADER = [
    "model", "dequantization", "seeds", "−ELBO", "paper", "NLL", "paper", "parameters (M)",
    "training step (s)", "sampling (ms per image)", "peak memory (MiB)", "time to val bpd",
]  # fmt: skip


def table2(runs: Sequence[Run]) -> Table:
    """Table 2: coupling, residual and Sylvester flows.

    Bounds and NLL in bits per dimension, mean ± standard deviation over seeds; seconds and memory are medians, of runs
    that were measured in the same way: see :func:`alike`.
    The last column is the training time, in seconds without evaluation, until the validation bpd falls to the best
    value of the weakest model.
    Raises: DataError if no run belongs to it, or runs are not comparable.
    """
    return _table(runs, TABLE2)


def table3(runs: Sequence[Run]) -> Table:
    """Table 3: ablations of the Sylvester layer. For columns and errors see :func:`table2`."""
    return _table(runs, TABLE3)


def rows2(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Runs of the rows of Table 2 by their names, in order, at all learning rates. For errors see :func:`table2`."""
    return {_name(TABLE2, *key): group for key, group in _found(runs, TABLE2).items()}


def rows3(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Runs of the rows of Table 3 by their names, in order, at all learning rates. For errors see :func:`table2`."""
    return {_name(TABLE3, *key): group for key, group in _found(runs, TABLE3).items()}


def _name(paper: Mapping[str, PaperRow], dequantization: str, kind: str) -> str:
    return f"{paper[kind].name} ({dequantization})"


def _found(runs: Sequence[Run], paper: Mapping[str, PaperRow]) -> dict[tuple[str, str], list[Run]]:
    """Comparable runs of the rows by dequantization and kind."""
    runs = [run for run in runs if run.dequantization in DEQUANTIZATIONS and "test/bpd" in run.metrics]
    kinds = kinds_of(runs)
    runs = [run for run in runs if kinds.get(run.folder) in paper]
    if not runs:
        raise DataError(f"no run belongs to the table: none is of {', '.join(paper)} and has a test/bpd")
    check_comparable(runs, free=lambda run: FREE | OTHER.get(kinds[run.folder], set()))
    keys = [(dequantization, kind) for dequantization in DEQUANTIZATIONS for kind in paper]
    groups = {key: [run for run in runs if (run.dequantization, kinds[run.folder]) == key] for key in keys}
    return {key: group for key, group in groups.items() if group}


def _table(runs: Sequence[Run], paper: Mapping[str, PaperRow]) -> Table:
    groups = {key: chosen(group) for key, group in _found(runs, paper).items()}
    rows, targets = [], {}
    for dequantization in DEQUANTIZATIONS:
        best = [_best(group) for (noise, _), group in groups.items() if noise == dequantization]
        targets[dequantization] = max((value for value in best if value is not None), default=None)
    named = [(_name(paper, *key), group) for key, group in groups.items()]
    every = [run for _, group in named for run in group]
    steps, sampling, memory, timed = STEP.of(groups), SAMPLING.of(groups), MEMORY.of(groups), alike(groups, STEP.key)
    for key, group in groups.items():
        dequantization, model = key
        bound, nll = paper[model].numbers.get(dequantization, (NONE, NONE))
        rows.append(
            [
                paper[model].name, dequantization, str(len(group)),
                mean_and_deviation(metric(group, "test/bpd")), bound,
                mean_and_deviation(metric(group, "test/nll_bpd")), nll,
                f"{group[0].test['num_parameters'] / 1e6:.3f}",
                median(steps[key], digits=3), median([1e3 * seconds for seconds in sampling[key]], digits=2),
                median(memory[key]), _time_to(timed[key], targets[dequantization]),
            ]
        )  # fmt: skip
    reached = ", ".join(f"{target:.3f} ({noise})" for noise, target in targets.items() if target is not None)
    note = f"The validation bpd to reach is {reached}. " if reached else ""
    return Table(HEADER, rows, f"{note}{rates_note(named)}{measured_on(every)} {times_note(groups)}".rstrip())


def kinds_of(runs: Sequence[Run]) -> dict[Path, str]:
    """Row of each run that belongs to a table, by folder.

    A residual flow has equal memory if it has fewer steps per level than another run or, if there are only residual
    flows of one number of steps, one of the numbers in ``EQUAL_MEMORY``.
    """
    ours = {run.folder: run for run in runs if run.flow in CLASSES}
    complete = [run for run in ours.values() if _steps(run) and run.flow_arguments.get("ablation", "none") == "none"]
    steps, kinds = {_steps(run) for run in complete}, {}
    alone = len(steps) == 1 and {run.flow for run in complete} == {"ResidualFlow"}
    for folder, run in ours.items():
        kinds[folder] = CLASSES[run.flow]
        fewer = (_levels(run), _steps(run)) in EQUAL_MEMORY if alone else _steps(run) < max(steps, default=0)
        if run.flow == "ResidualFlow" and fewer:
            kinds[folder] = "residual_equal_memory"
        elif (
            run.flow == "ConvSylvesterFlow" and (ablation := str(run.flow_arguments.get("ablation", "none"))) != "none"
        ):
            kinds[folder] = ablation
    return kinds


def _steps(run: Run) -> int:
    steps = run.flow_arguments.get("steps_per_level")
    return steps if isinstance(steps, int) else 0


def _levels(run: Run) -> int:
    levels = run.flow_arguments.get("num_levels")
    return levels if isinstance(levels, int) else 3


def _best(group: Sequence[Run]) -> float | None:
    """Median over seeds of the lowest validation bpd; None without a curve."""
    lowest = [min(value for _, value in curve) for run in group if (curve := validations(run))]
    return statistics.median(lowest) if lowest else None


def _time_to(group: Sequence[Run], target: float | None) -> str:
    """Median time over the seeds whose curve and time per step are known, infinite for one that never reaches it."""
    seconds = []
    for run in group:
        curve, step = validations(run), step_seconds(run)
        if curve and step is not None and target is not None:
            seconds.append(min((at * step for at, value in curve if value <= target), default=math.inf))
    middle = statistics.median(seconds) if seconds else math.inf
    return f"{middle:.0f} s" if math.isfinite(middle) else NONE
