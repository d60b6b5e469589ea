"""Table 1: mixing layers in a generative flow."""

import statistics
from collections.abc import Sequence
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
    """What the paper prints: bits per dimension on CIFAR-10 and runtimes in % of 1x1; millions of parameters."""

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


def table1(runs: Sequence[Run]) -> str:
    """Table 1 as Markdown, with what it was measured on.

    Bounds and NLL in bits per dimension, mean ± standard deviation over seeds; runtimes in % of those with 1x1
    convolutions, medians over seeds. Raises: DataError if no run is of this experiment, or they cannot be compared.
    """
    runs = [run for run in runs if run.test["model"]["class_path"].endswith(".MixingFlow")]
    runs = [run for run in runs if "test/bpd" in run.test["metrics"]]
    if not runs:
        raise DataError("expected runs of table1/*.yaml; got none of a MixingFlow")
    check_comparable(runs, free=lambda run: {"mixing"})
    by_kind = {kind: newest_by_seed([run for run in runs if run.model.get("mixing") == kind]) for kind in PAPER}
    seconds = {name: _seconds(by_kind["conv1x1"], name) for name in ("train_step_seconds", "sample_seconds_per_image")}
    rows = []
    for kind, paper in PAPER.items():
        if not (group := by_kind[kind]):
            continue
        metrics = [run.test["metrics"] for run in group]
        bound = mean_and_deviation([m["test/bpd"] for m in metrics])
        nll = (
            mean_and_deviation([m["test/nll_bpd"] for m in metrics])
            if all("test/nll_bpd" in m for m in metrics)
            else "–"
        )
        training, sampling = (_percent(_seconds(group, name), base) for name, base in seconds.items())
        memory = [run.runtime["peak_memory_bytes"] / 2**20 for run in group if "peak_memory_bytes" in run.runtime]
        rows.append(
            [
                paper.name, str(len(group)), bound, paper.bound, nll, paper.nll,
                f"{group[0].test['num_parameters'] / 1e6:.3f}", str(paper.parameters),
                training, str(paper.training), sampling, str(paper.sampling),
                f"{statistics.median(memory):.0f}" if memory else "–",
            ]
        )  # fmt: skip
    return f"{markdown(HEADER, rows)}\n\n{measured_on(runs)}"


def _seconds(runs: Sequence[Run], name: str) -> float | None:
    values = [run.runtime[name] for run in runs if name in run.runtime]
    return statistics.median(values) if values else None


def _percent(seconds: float | None, base: float | None) -> str:
    return f"{100 * seconds / base:.1f}" if seconds and base else "–"
