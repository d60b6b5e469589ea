"""Copy what the tables read of finished runs, without checkpoints: ``python benchmarks/keep_results.py RUNS FOLDER``.

About 80 kB per run. ``table 2 --runs FOLDER`` prints the same table as ``table 2 --runs RUNS``; runs that FOLDER
already has are kept as they are.
"""

import shutil
import sys
from pathlib import Path

from lightning_flows.reporting.tables.curve_file import CURVES
from lightning_flows.reporting.tables.runs import CONFIG, RECORD, RUNTIME, TESTS, find_runs

FILES = (CONFIG, RECORD, RUNTIME, CURVES, "items_*.npz", TESTS)
"""The last one makes a folder a tested run, also for a copy that is interrupted."""


def main(runs: str, target: str) -> None:
    for run in find_runs(runs, report=lambda text: print(f"skipped: {text}")):
        folder = Path(target) / run.name
        if (folder / TESTS).exists() or run.state != "finished":
            print(f"skipped: {run.name}")
            continue
        folder.mkdir(parents=True, exist_ok=True)
        for path in (path for name in FILES for path in run.folder.glob(name)):
            shutil.copyfile(path, folder / path.name)
        print(f"copied: {run.name}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    main(*sys.argv[1:])
