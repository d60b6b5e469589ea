"""Gain from the graph convolution exponential at equal time: ``python benchmarks/equal_time.py --runs RUNS``.

Reads finished runs of `table 4`. The flow with exponentials is evaluated at its last validation within the total
CPU time of the flow without them. This puts it at a disadvantage: its learning rate has not decayed to zero yet.
"""

import argparse
import statistics

from lightning_flows.reporting.tables import Run, Table, find_runs
from lightning_flows.reporting.tables.compare import newest_by_seed
from lightning_flows.reporting.tables.table import mean_and_deviation
from lightning_flows.reporting.tables.table4 import DATA, kind_of

HEADER = ["data", "seeds", "CPU seconds, %", "gap without", "gap with, equal steps", "gap with, equal time"]


def gaps(runs: list[Run], share: float = 1.0) -> list[float]:
    """Validation gaps, in nats per node, after a share of the steps."""
    curves = [run.curve("val/gap") for run in runs]
    return [[gap for step, gap in curve if step + 1 <= share * (curve[-1][0] + 1)][-1] for curve in curves]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", default="runs/table4")
    arguments = parser.parse_args()
    rows = []
    runs = find_runs(arguments.runs)
    for name, title in DATA.items():
        ours = [run for run in runs if run.test["data"]["init_args"].get("mixture") == name]
        without, with_them = (
            newest_by_seed([run for run in ours if kind_of(run) == kind]) for kind in ("gnf", "gnf_exponential")
        )
        if not without or not with_them:
            continue
        seconds = [statistics.median(run.runtime["cpu_seconds"] for run in group) for group in (without, with_them)]
        compared = (gaps(without), gaps(with_them), gaps(with_them, min(1.0, seconds[0] / seconds[1])))
        rows.append(
            [title, f"{len(without)}, {len(with_them)}", f"{100 * seconds[1] / seconds[0]:.1f}"]
            + [mean_and_deviation(values) for values in compared]
        )
    print(Table(HEADER, rows).markdown())


if __name__ == "__main__":
    main()
