"""``table``: the paper's tables from finished runs."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from lightning_flows.errors import DataError, UsageError
from lightning_flows.tables import find_runs, table1, table2, table3, table4
from lightning_flows.tables.runs import TESTS
from lightning_flows.tables.table2 import TABLE2, TABLE3
from lightning_flows.tables.table4 import DATA, MODELS
from lightning_flows.transforms import MIXINGS

TABLES = {1: table1, 2: table2, 3: table3, 4: table4}
CONFIGS = {
    1: [f"table1/{kind}.yaml" for kind in MIXINGS],
    2: [f"table2/{kind}_{noise}.yaml" for noise in ("uniform", "variational") for kind in TABLE2],
    3: [f"table3/{kind}.yaml" for kind in TABLE3],
    4: [f"table4/{data}_{model}.yaml" for data in DATA for model in MODELS],
}
OVERLAYS = {1: ["cpu.yaml"], 2: ["cpu.yaml"], 3: ["cpu.yaml"], 4: []}  # those of table 4 are small as they are


def table(
    number: int,
    runs: str = "runs",
    fit: bool = False,
    seeds: list[int] = [0, 1, 2],  # noqa: B006
    overlays: list[str] | None = None,
    pictures: str | None = None,
    only: str = "",
    jobs: int = 1,
) -> None:
    """Print a table of the paper as Markdown, from finished runs beside the paper's numbers.

    Args:
        number: which table, 1 to 4.
        runs: folder with the runs, several seeds each.
        fit: first train and test what is missing there; started again, it goes on where it was.
        seeds: to train with.
        overlays: configs on top of the table's own; by default tables 1 to 3 are reduced to two CPU cores, [] for none.
        pictures: folder or tar of pictures to train on instead of the overlay's.
        only: train only the configs whose name contains this.
        jobs: trainings at once, which share the CPU's cores; their runtimes are then those of a busy machine.
    """
    if number not in TABLES:
        raise UsageError(f"expected a table among {', '.join(map(str, TABLES))}; got {number}")
    if number == 4 and pictures:
        raise UsageError("expected no pictures for table 4, whose data are graphs; leave --pictures out")
    if fit:
        configs = [config for config in CONFIGS[number] if only in config]
        if not configs or jobs < 1:
            raise UsageError(
                f"expected only to be part of one of {', '.join(CONFIGS[number])} and at least one job; "
                f"got {only!r} and {jobs}"
            )
        overlays = OVERLAYS[number] if overlays is None else overlays
        todo = [(config, seed) for seed in seeds for config in configs]
        threads = None if jobs == 1 else max(1, (os.cpu_count() or 1) // jobs)
        with ThreadPoolExecutor(jobs) as pool:
            started = []
            for i, (config, seed) in enumerate(todo):
                title = f"run {i + 1} of {len(todo)}: {config}, seed {seed}"
                started.append(pool.submit(_fit_and_test, title, config, seed, Path(runs), overlays, pictures, threads))
            try:
                for future in as_completed(started):
                    future.result()
            finally:
                pool.shutdown(cancel_futures=True)  # one that fails keeps the rest from starting
    print(TABLES[number](find_runs(runs)))


def _fit_and_test(
    title: str, config: str, seed: int, runs: Path, overlays: list[str], pictures: str | None, threads: int | None
) -> None:
    parts = [Path(config).stem, *(Path(file).stem for file in overlays), *([Path(pictures).stem] if pictures else [])]
    name = f"{'_'.join(parts)}_seed{seed}"  # other settings are other runs
    print(title, flush=True)
    if list((runs / name).glob(f"version_*/{TESTS}")):
        return
    logger = "--trainer.logger.init_args"
    options = [f"--config={file}" for file in (config, *overlays)]
    options += ["--data=ImageFolder", f"--data.init_args.root={pictures}"] if pictures else []
    options += [f"--seed_everything={seed}", f"{logger}.save_dir={runs}", f"{logger}.name={name}"]
    _run("fit", *options, "--ckpt_path=last", threads=threads)
    best = max((runs / name).glob("version_*/checkpoints/best.ckpt"), key=os.path.getmtime, default=None)
    if best is None:
        raise DataError(f"expected a checkpoint below {runs / name}; got none: look at what fit printed")
    _run("test", f"--ckpt_path={best}", threads=threads)


def _run(*args: str, threads: int | None) -> None:
    """A subcommand in a process of its own, so that runs share neither memory nor seeds."""
    limit = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
    process = subprocess.run([sys.executable, "-m", "lightning_flows", *args], check=False, env=os.environ | limit)
    if process.returncode:
        raise UsageError(f"`{args[0]}` ended with status {process.returncode}: what it printed tells why")
