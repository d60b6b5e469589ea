"""What the runs of one experiment have in common: tables beside the paper's, curves, runtimes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup

from lightning_flows.errors import DataError
from lightning_flows.reporting.report.chart import Line, line_chart
from lightning_flows.reporting.report.runs import Training
from lightning_flows.reporting.tables import Run, table1, table2, table3, table4
from lightning_flows.reporting.tables.runs import DifferError

TABLES = {1: table1, 2: table2, 3: table3, 4: table4}
UNITS = {"bpd": "bits per dimension", "nll": "nats a node"}
"""What flows of images and of graphs log, and its unit."""

RUNTIME_HEADER = [
    "run", "test", "steps", "step (s)", "items a second", "sampling (ms an item)", "peak memory (MiB)", "CPU (s)",
    "batch", "device", "torch", "lightning_flows",
]  # fmt: skip


class Table(NamedTuple):
    """A table of the paper with what runs measured, or the sentence that says why there is none."""

    number: int
    header: list[str]
    rows: list[list[str]]
    note: str


class Chart(NamedTuple):
    """A chart with its title and the name of each of its colors."""

    title: str
    svg: Markup
    legend: list[tuple[int, str]]


def table_numbers(runs: Sequence[Run]) -> list[int]:
    """Tables that runs belong to. Sylvester flows are of Table 3 where an ablation is beside them, else of Table 2."""
    kinds = _kinds(runs)
    ablated = any(run.model.get("ablation", "none") != "none" for run in runs)
    return [
        number
        for number, belongs in {
            1: "MixingFlow" in kinds,
            2: kinds & {"CouplingFlow", "ResidualFlow"} or ("CSF" in kinds and not ablated),
            3: ablated,
            4: kinds & {"GraphCouplingFlow", "GraphNormalizingFlow", "SetAutoregressiveFlow"},
        }.items()
        if belongs
    ]


def _kinds(runs: Sequence[Run]) -> set[str]:
    return {run.test["model"]["class_path"].rpartition(".")[2] for run in runs}


def tables(trainings: Sequence[Training]) -> list[Table]:
    """Tables of the paper for which there are runs; a table that cannot be built has no rows and says why.

    Sylvester flows alone, with different settings, such as the demo and another run, are no experiment of the paper.
    """
    runs = [training.run for training in trainings if training.run]
    found = []
    for number in table_numbers(runs):
        try:
            grid, _, note = TABLES[number](runs).partition("\n\n")
            header, _, *rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in grid.splitlines()]
            found.append(Table(number, header, rows, note))
        except DataError as error:
            if isinstance(error, DifferError) and _kinds(runs) == {"CSF"} and number == 2:
                continue
            found.append(Table(number, [], [], str(error)))
    return found


def validation_charts(trainings: Sequence[Training]) -> list[Chart]:
    """Validation curves of all runs on the same data, one color a label."""
    charts = []
    for unit, name in UNITS.items():
        by_data: dict[str, list[Training]] = {}
        for training in trainings:
            if f"val/{unit}" in training.scalars.curves:
                by_data.setdefault(data_name(training.settings), []).append(training)
        for data, group in by_data.items():
            labels = sorted({training.label for training in group})
            lines = [Line(t.scalars.curves[f"val/{unit}"], labels.index(t.label)) for t in group]
            if svg := line_chart(lines, y_label=name):
                charts.append(Chart(f"Validation, {data}: {name}", svg, list(enumerate(labels))))
    return charts


def training_chart(training: Training) -> Chart | None:
    """Training and validation curve of a run; None if it logged none."""
    for unit, name in UNITS.items():
        curves = [training.scalars.curves.get(f"{stage}/{unit}", []) for stage in ("train", "val")]
        svg = line_chart([Line(curves[0], 0, thin=True), Line(curves[1], 1)], y_label=name)
        if svg:
            return Chart(f"{name[0].upper()}{name[1:]}", svg, [(0, "training"), (1, "validation")])
    return None


def runtime_row(training: Training) -> list[str]:
    """Test result and runtimes of a run, as RUNTIME_HEADER has them; – for what is not known."""
    runtime: dict[str, Any] = training.run.runtime if training.run else {}
    test: dict[str, Any] = training.run.test if training.run else {}

    def number(key: str, *, scale: float = 1.0, digits: int = 0) -> str:
        value = runtime.get(key)
        return f"{value * scale:.{digits}f}" if isinstance(value, int | float) else "–"

    return [
        training.short_name,
        headline(training) or "–",
        str(test.get("global_step", "–")),
        number("train_step_seconds", digits=3),
        number("images_per_second"),
        number("sample_seconds_per_image", scale=1e3, digits=2),
        number("peak_memory_bytes", scale=2**-20),
        number("cpu_seconds"),
        str(runtime.get("batch_size", "–")),
        str(runtime.get("device", "–")),
        str(runtime.get("torch", test.get("torch", "–"))),
        str(runtime.get("lightning_flows", test.get("lightning_flows", "–"))),
    ]


def headline(training: Training) -> str | None:
    """The test's bound or likelihood with its unit."""
    metrics = training.run.test["metrics"] if training.run else {}
    found = {name: metrics.get(f"test/{unit}") for unit, name in UNITS.items()}
    return next((f"{value:.3f} {name}" for name, value in found.items() if isinstance(value, int | float)), None)


def data_name(settings: dict[str, Any]) -> str:
    """Short name of the data in a config: class, and file or mixture."""
    data = settings.get("data")
    if not isinstance(data, dict):
        return "unknown data"
    options = data.get("init_args")
    options = options if isinstance(options, dict) else {}
    which = options.get("mixture") or Path(str(options.get("root") or "")).name
    return " ".join(part for part in (str(data.get("class_path", "")).rpartition(".")[2], str(which)) if part)
