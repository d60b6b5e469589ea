"""``table``: the paper's tables from finished runs."""

import os
import subprocess
import sys
from pathlib import Path

from lightning_flows.errors import DataError, UsageError
from lightning_flows.tables import find_runs, table1, table2, table3
from lightning_flows.tables.runs import TESTS
from lightning_flows.tables.table2 import TABLE2, TABLE3
from lightning_flows.transforms import MIXINGS

TABLES = {1: table1, 2: table2, 3: table3}
CONFIGS = {
    1: [f"table1/{kind}.yaml" for kind in MIXINGS],
    2: [f"table2/{kind}_{noise}.yaml" for noise in ("uniform", "variational") for kind in TABLE2],
    3: [f"table3/{kind}.yaml" for kind in TABLE3],
}


OVERLAYS = {1: ["cpu.yaml"], 2: ["table2/cpu.yaml"], 3: ["table2/cpu.yaml"]}


def table(
    number: int,
    runs: str = "runs",
    fit: bool = False,
    seeds: list[int] = [0, 1, 2],  # noqa: B006
    overlays: list[str] | None = None,
    pictures: str | None = None,
) -> None:
    """Print a table of the paper as Markdown, from finished runs beside the paper's numbers.

    Args:
        number: which table; 1, 2 or 3.
        runs: folder with the runs, several seeds each.
        fit: first train and test what is missing there; started again, it goes on where it was.
        seeds: to train with.
        overlays: configs on top of the table's own; by default one that reduces it to two CPU cores, [] for none.
        pictures: folder or tar of pictures to train on instead of the overlay's.
    """
    if number not in TABLES:
        raise UsageError(f"expected a table among {', '.join(map(str, TABLES))}; got {number}")
    if fit:
        overlays = OVERLAYS[number] if overlays is None else overlays
        jobs = [(config, seed) for seed in seeds for config in CONFIGS[number]]
        for i, (config, seed) in enumerate(jobs):
            print(f"run {i + 1} of {len(jobs)}: {config}, seed {seed}", flush=True)
            _fit_and_test(config, seed, Path(runs), overlays, pictures)
    print(TABLES[number](find_runs(runs)))


def _fit_and_test(config: str, seed: int, runs: Path, overlays: list[str], pictures: str | None) -> None:
    parts = [Path(config).stem, *(Path(file).stem for file in overlays), *([Path(pictures).stem] if pictures else [])]
    name = f"{'_'.join(parts)}_seed{seed}"  # other settings are other runs
    if list((runs / name).glob(f"version_*/{TESTS}")):
        return
    logger = "--trainer.logger.init_args"
    options = [f"--config={file}" for file in (config, *overlays)]
    options += ["--data=ImageFolder", f"--data.init_args.root={pictures}"] if pictures else []
    options += [f"--seed_everything={seed}", f"{logger}.save_dir={runs}", f"{logger}.name={name}"]
    _run("fit", *options, "--ckpt_path=last")
    best = max((runs / name).glob("version_*/checkpoints/best.ckpt"), key=os.path.getmtime, default=None)
    if best is None:
        raise DataError(f"expected a checkpoint below {runs / name}; got none: look at what fit printed")
    _run("test", f"--ckpt_path={best}")


def _run(*args: str) -> None:
    """A subcommand in a process of its own, so that runs share neither memory nor seeds."""
    process = subprocess.run([sys.executable, "-m", "lightning_flows", *args], check=False)
    if process.returncode:
        raise UsageError(f"`{args[0]}` ended with status {process.returncode}: what it printed tells why")
