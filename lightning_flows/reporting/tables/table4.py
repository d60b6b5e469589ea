"""Table 4: graph flows on mixtures of Gaussians."""

from collections.abc import Sequence

from lightning_flows.errors import DataError
from lightning_flows.reporting.tables.compare import DifferError, measured_on, metric, one_per_seed
from lightning_flows.reporting.tables.runs import Run
from lightning_flows.reporting.tables.table import NONE, Table, mean_and_deviation, median
from lightning_flows.reporting.tables.timing import Measure, hardware

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
    "set_autoregressive": (NONE,) * 4,
}
"""The paper's results in nats per node, in the order of the data."""
PAPER_ENTROPY = ("3.63 ± 0.000", "4.26 ± 0.013", NONE, "4.05 ± 0.001")
METRICS = ("test/nll_from_gap", "test/gap", "test/gap_standard_error", "test/entropy")
HEADER = [
    "data", "model", "seeds", "NLL", "paper", "gap to the entropy", "valid samples %", "parameters", "steps",
    "CPU seconds",
]  # fmt: skip


def table4(runs: Sequence[Run]) -> Table:
    """Table 4: nats per node, mean ± standard deviation over seeds.

    The NLL is the entropy plus the gap, the mean of (log p_true − log p_model)/N over the same graphs, which is far
    more precise than the NLL itself. Runs of different lengths have separate rows. Runs on other means, sizes or edges
    are skipped. Steps and seconds are medians; seconds are those of runs on the same hardware.
    Raises: DataError if no run belongs to it, or runs are not comparable.
    """
    groups: dict[tuple[int, int, int], list[Run]] = {}
    for run in runs:
        model, options = kind_of(run), run.test["data"]["init_args"]
        other = any(options.get(key) is not None for key in ("means", "sizes", "adjacency"))
        if model and options.get("mixture") in DATA and not other and all(name in run.metrics for name in METRICS):
            key = list(DATA).index(options["mixture"]), list(MODELS).index(model), planned_steps(run)
            groups.setdefault(key, []).append(run)
    if not groups:
        raise DataError("no run belongs to table 4: none has a graph flow on MoG-4, MoG-9, MoG-16 or MoG-Ring")
    rows = []
    groups = {key: one_per_seed(groups[key]) for key in sorted(groups)}
    every = [run for group in groups.values() for run in group]
    seconds = Measure(lambda run: run.runtime.get("cpu_seconds"), hardware).of(groups)
    for i, data in enumerate(DATA.values()):
        present = {key: group for key, group in groups.items() if key[0] == i}
        for key, group in present.items():
            kind = list(MODELS)[key[1]]
            rows.append([data, MODELS[kind], *_row(group, PAPER[kind][i], seconds[key])])
        if present:
            entropy = _entropy([run for group in present.values() for run in group])
            rows.append([data, "entropy", "", f"{entropy:.4f}", PAPER_ENTROPY[i], *[""] * (len(HEADER) - 5)])
    error = max(metric(every, "test/gap_standard_error"))
    note = f"Standard error of a run's gap over test graphs: at most {error:.4f}."
    paper = "The paper does not state its training lengths and net sizes."
    return Table(HEADER, rows, f"{note} {measured_on(every, paper)}")


def _entropy(runs: Sequence[Run]) -> float:
    """The entropy of the graphs that runs were tested on. Raises: DifferError if the graphs or their number differ."""
    seen: dict[tuple[int, str], Run] = {}
    for run in runs:
        seen.setdefault((run.test["num_items"], f"{run.metrics['test/entropy']:.4f}"), run)
    if len(seen) > 1:
        each = [f"{run.folder} on {num}, whose entropy is {entropy}" for (num, entropy), run in seen.items()]
        raise DifferError(f"runs were tested on different graphs: {'; '.join(each)}: keep them in separate folders")
    return float(runs[0].metrics["test/entropy"])


def _row(group: Sequence[Run], paper: str, seconds: Sequence[float]) -> list[str]:
    shares = [100 * run.metrics["test/valid_share"] for run in group if "test/valid_share" in run.metrics]
    return [
        str(len(group)),
        mean_and_deviation(metric(group, "test/nll_from_gap")),
        paper,
        mean_and_deviation(metric(group, "test/gap"), digits=4),
        mean_and_deviation(shares, digits=1).partition(" ")[0],
        str(group[0].test["num_parameters"]),
        median([run.test["global_step"] for run in group]),
        median(seconds),
    ]


def planned_steps(run: Run) -> int:
    """Planned steps of the training, 0 if unlimited; the best checkpoint may be from an earlier step."""
    trainer, steps_per_epoch = run.config["trainer"], run.config["data"]["init_args"].get("steps_per_epoch") or 0
    limits = (trainer.get("max_steps") or -1, (trainer.get("max_epochs") or -1) * steps_per_epoch)
    return min((limit for limit in limits if limit > 0), default=0)


def kind_of(run: Run) -> str | None:
    """Row of a run, a key of MODELS; None for another flow."""
    if run.flow == "GraphNormalizingFlow":
        return "gnf_exponential" if run.flow_arguments.get("exponential") else "gnf"
    return {"GraphCouplingFlow": "coupling", "SetAutoregressiveFlow": "set_autoregressive"}.get(run.flow)
