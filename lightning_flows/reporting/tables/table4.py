"""Table 4: graph flows on mixtures of Gaussians."""

import statistics
from collections.abc import Sequence

from lightning_flows.errors import DataError
from lightning_flows.reporting.tables.runs import (
    Run,
    check_comparable,
    markdown,
    mean_and_deviation,
    measured_on,
    newest_by_seed,
)

DATA = {"mog4": "MoG-4", "mog9": "MoG-9", "mog16": "MoG-16", "mog_ring": "MoG-Ring"}
MODELS = {
    "coupling": "coupling",
    "gnf": "graph normalizing flow",
    "gnf_exponential": "with the exponential",
    "set_autoregressive": "set-autoregressive (ours)",
}
PAPER = {
    "coupling": ("3.89 ± 0.012", "6.14 ± 0.012", "7.20 ± 0.021", "4.35 ± 0.023"),
    "gnf": ("3.69 ± 0.016", "4.60 ± 0.067", "5.38 ± 0.048", "4.22 ± 0.025"),
    "gnf_exponential": ("3.68 ± 0.017", "4.52 ± 0.047", "5.26 ± 0.047", "4.19 ± 0.036"),
    "set_autoregressive": ("–", "–", "–", "–"),
}
"""What the paper prints: nats a node, in the order of the data."""
PAPER_ENTROPY = ("3.63 ± 0.000", "4.26 ± 0.013", "–", "4.05 ± 0.001")
METRICS = ("test/nll_from_gap", "test/gap", "test/gap_standard_error", "test/entropy")
HEADER = [
    "data", "model", "seeds", "NLL", "paper", "gap to the entropy", "valid samples %", "parameters", "steps",
    "CPU seconds",
]  # fmt: skip


def table4(runs: Sequence[Run]) -> str:
    """Table 4 as Markdown: nats a node, mean ± standard deviation over seeds.

    The NLL is the entropy plus the gap, the mean of (log p_true − log p_model)/N over the same graphs, of which the
    latter is far more precise. Trainings of another length are another row. Runs on other means, sizes or edges are
    left out. Steps and seconds are medians.
    Raises: DataError if no run is of this experiment, or those of one row cannot be compared.
    """
    groups: dict[tuple[str, str, int], list[Run]] = {}
    for run in runs:
        options, model = run.test["data"]["init_args"], kind_of(run)
        data = options.get("mixture")
        other = any(options.get(key) is not None for key in ("means", "sizes", "adjacency"))
        other = other or any(name not in run.test["metrics"] for name in METRICS)
        if data in DATA and model in MODELS and not other:
            groups.setdefault((data, model, _length(run)), []).append(run)
    if not groups:
        raise DataError("expected runs of table4/*.yaml; got none of a graph flow")
    rows = []
    for i, data in enumerate(DATA):
        present = sorted((list(MODELS).index(key[1]), key[2], key) for key in groups if key[0] == data)
        for _, _, key in present:
            group = newest_by_seed(groups[key])
            check_comparable(group, free=lambda run: set())
            rows.append([DATA[data], MODELS[key[1]], *_row(group, PAPER[key[1]][i])])
        if present:
            entropy = groups[present[0][-1]][0].test["metrics"]["test/entropy"]
            rows.append([DATA[data], "entropy", "", f"{entropy:.4f}", PAPER_ENTROPY[i], *[""] * (len(HEADER) - 5)])
    errors = [run.test["metrics"]["test/gap_standard_error"] for group in groups.values() for run in group]
    note = f"Standard error of a run's gap over test graphs: at most {max(errors):.4f}."
    paper = "Paper: its own training lengths and sizes, which it does not give."
    return f"{markdown(HEADER, rows)}\n\n{note} {measured_on(next(iter(groups.values())), paper)}"


def _row(group: Sequence[Run], paper: str) -> list[str]:
    metrics = [run.test["metrics"] for run in group]
    shares = [m["test/valid_share"] for m in metrics if "test/valid_share" in m]
    seconds = [run.runtime["cpu_seconds"] for run in group if "cpu_seconds" in run.runtime]
    steps = {run.test["global_step"] for run in group}
    return [
        str(len(group)),
        mean_and_deviation([m["test/nll_from_gap"] for m in metrics]),
        paper,
        mean_and_deviation([m["test/gap"] for m in metrics], digits=4),
        f"{100 * statistics.fmean(shares):.1f}" if shares else "–",
        str(group[0].test["num_parameters"]),
        f"{statistics.median(steps):.0f}",
        f"{statistics.median(seconds):.0f}" if seconds else "–",
    ]


def _length(run: Run) -> int:
    """Planned steps of the training, 0 if it has no limit; a best checkpoint may be of an earlier step."""
    trainer, steps_per_epoch = run.config["trainer"], run.config["data"]["init_args"].get("steps_per_epoch") or 0
    limits = (trainer.get("max_steps") or -1, (trainer.get("max_epochs") or -1) * steps_per_epoch)
    return min((limit for limit in limits if limit > 0), default=0)


def kind_of(run: Run) -> str | None:
    """Row of a run, a key of MODELS; None for another model."""
    name = run.test["model"]["class_path"].rpartition(".")[2]
    if name == "GraphNormalizingFlow":
        return "gnf_exponential" if run.model.get("exponential") else "gnf"
    return {"GraphCouplingFlow": "coupling", "SetAutoregressiveFlow": "set_autoregressive"}.get(name)
