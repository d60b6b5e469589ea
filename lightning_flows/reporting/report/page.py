"""The page: everything in one file, nothing that runs, nothing from elsewhere."""

from collections.abc import Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from lightning_flows import __version__
from lightning_flows.reporting.report.experiments import (
    RUNTIME_HEADER,
    headline,
    runtime_row,
    tables,
    training_chart,
    validation_charts,
)
from lightning_flows.reporting.report.runs import Training


def report_page(trainings: Sequence[Training], title: str) -> str:
    """HTML about runs: tables of the paper, curves, runtimes, samples, configs and what is missing or broken.

    Names and configs are text, whatever they hold: the template escapes them, and the page forbids scripts.

    Args:
        trainings: the runs, see :func:`read_trainings`.
        title: of the page.
    """
    by_experiment: dict[str, list[Training]] = {}
    for training in trainings:
        by_experiment.setdefault(training.experiment, []).append(training)
    experiments = [
        {
            "name": "" if name == "." else name,
            "tables": tables(group),
            "charts": validation_charts(group),
            "runtimes": [runtime_row(training) for training in group],
            "runs": [_details(training) for training in group],
        }
        for name, group in by_experiment.items()
    ]
    environment = Environment(
        loader=PackageLoader("lightning_flows.reporting.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html").render(
        title=title, experiments=experiments, runtime_header=RUNTIME_HEADER, version=__version__
    )


def _details(training: Training) -> dict[str, Any]:
    return {
        "name": training.name,
        "short_name": training.short_name,
        "headline": headline(training),
        "chart": training_chart(training),
        "image": training.image,
        "metrics": sorted(training.run.test["metrics"].items()) if training.run else [],
        "config": training.config,
        "problems": training.problems,
    }
