"""Tables 2 and 3: residual transformations, and ablations of the Sylvester layer."""

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from lightning_flows.errors import DataError
from lightning_flows.reporting.tables.runs import (
    Run,
    check_comparable,
    markdown,
    mean_and_deviation,
    measured_on,
    newest_by_seed,
)


class PaperRow(NamedTuple):
    """What the paper prints, in bits per dimension on CIFAR-10: bound and NLL, by dequantization."""

    name: str
    numbers: Mapping[str, tuple[str, str]]


TABLE2 = {
    "coupling": PaperRow("coupling", {"uniform": ("3.38", "3.35"), "variational": ("3.27", "3.25")}),
    "residual": PaperRow("residual", {"uniform": ("3.37", "–"), "variational": ("3.26", "–")}),
    "residual_equal_memory": PaperRow(
        "residual, equal memory", {"uniform": ("3.44", "–"), "variational": ("3.35", "–")}
    ),
    "csf": PaperRow("Convolutional Sylvester", {"uniform": ("3.32", "3.29"), "variational": ("3.21", "3.19")}),
}
TABLE3 = {
    "csf": PaperRow("Convolutional Sylvester", {"variational": ("3.21", "3.19")}),
    "no_autoregressive": PaperRow("without f_AR", {"variational": ("3.44", "3.42")}),
    "no_basis": PaperRow("without basis", {"variational": ("3.27", "3.25")}),
}
HEADER = [
    "model", "dequantization", "seeds", "−ELBO", "paper", "NLL", "paper", "parameters (M)",
    "training step (s)", "peak memory (MiB)", "time to val bpd",
]  # fmt: skip


def table2(runs: Sequence[Run]) -> str:
    """Table 2 as Markdown: coupling, residual and Sylvester flows.

    Bounds and NLL in bits per dimension, mean ± standard deviation over seeds; seconds and memory are medians. The last
    column is the training time, in seconds without evaluation, until the validation bpd is as low as the best of the
    model that ends highest. Raises: DataError if no run is of this experiment, or they cannot be compared.
    """
    return _table(runs, TABLE2)


def table3(runs: Sequence[Run]) -> str:
    """Table 3 as Markdown: the Sylvester layer without a part of it. For columns and errors see :func:`table2`."""
    return _table(runs, TABLE3)


def _table(runs: Sequence[Run], paper: Mapping[str, PaperRow]) -> str:
    kinds = _kinds(runs)
    runs = [run for run in runs if kinds.get(run.folder) in paper and "test/bpd" in run.test["metrics"]]
    if not runs:
        raise DataError(f"expected runs of {', '.join(paper)}; got none of them")
    check_comparable(runs, free=lambda run: {"ablation", "dequantization", "equal_memory", "num_importance_samples"})
    rows, targets = [], []
    for dequantization in ("uniform", "variational"):
        groups = {}
        for kind in paper:
            found = [r for r in runs if kinds[r.folder] == kind and r.model.get("dequantization") == dequantization]
            if found:
                groups[kind] = newest_by_seed(found)
        target = max((best for group in groups.values() if (best := _best(group)) is not None), default=None)
        for kind, group in groups.items():
            metrics = [run.test["metrics"] for run in group]
            numbers = paper[kind].numbers.get(dequantization, ("–", "–"))
            nll = (
                mean_and_deviation([m["test/nll_bpd"] for m in metrics])
                if all("test/nll_bpd" in m for m in metrics)
                else "–"
            )
            memory = [run.runtime["peak_memory_bytes"] / 2**20 for run in group if "peak_memory_bytes" in run.runtime]
            step = [run.runtime["train_step_seconds"] for run in group if "train_step_seconds" in run.runtime]
            rows.append(
                [
                    paper[kind].name, dequantization, str(len(group)),
                    mean_and_deviation([m["test/bpd"] for m in metrics]), numbers[0], nll, numbers[1],
                    f"{group[0].test['num_parameters'] / 1e6:.3f}",
                    f"{statistics.median(step):.3f}" if step else "–",
                    f"{statistics.median(memory):.0f}" if memory else "–",
                    _time_to(group, target),
                ]
            )  # fmt: skip
        if target is not None:
            targets.append(f"{target:.3f} ({dequantization})")
    note = f"The validation bpd to reach is {', '.join(targets)}. " if targets else ""
    return f"{markdown(HEADER, rows)}\n\n{note}{measured_on(runs)}"


def _kinds(runs: Sequence[Run]) -> dict[Path, str]:
    """Which row each run belongs to."""
    kinds = {}
    for run in runs:
        name = run.test["model"]["class_path"].rpartition(".")[2]
        if name == "CouplingFlow":
            kinds[run.folder] = "coupling"
        elif name == "ResidualFlow":
            kinds[run.folder] = "residual_equal_memory" if run.model.get("equal_memory") else "residual"
        elif name == "CSF":
            ablation = run.model.get("ablation", "none")
            kinds[run.folder] = "csf" if ablation == "none" else ablation
    return kinds


def _best(group: Sequence[Run]) -> float | None:
    """Median over seeds of the lowest validation bpd; None without a curve."""
    curves = [[value for _, value in run.curve("val/bpd") if math.isfinite(value)] for run in group]
    lowest = [min(curve) for curve in curves if curve]
    return statistics.median(lowest) if lowest else None


def _time_to(group: Sequence[Run], target: float | None) -> str:
    """Median over seeds; one that never gets there counts as infinite."""
    seconds = []
    for run in group:
        reached = [step for step, value in run.curve("val/bpd") if target is not None and value <= target]
        step_seconds = run.runtime.get("train_step_seconds", math.inf)
        seconds.append((min(reached) + 1) * step_seconds if reached else math.inf)
    median = statistics.median(seconds)
    return f"{median:.0f} s" if math.isfinite(median) else "–"
