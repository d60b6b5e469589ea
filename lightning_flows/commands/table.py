"""``table``: the paper's tables from finished runs."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from lightning_flows.errors import DataError, UsageError
from lightning_flows.remaining import Remaining
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
        settings = [(config, seed) for seed in seeds for config in configs]
        todo = [(*setting, _folder(*setting, Path(runs), overlays, pictures)) for setting in settings]
        _fit_all([run for run in todo if not _is_tested(run[-1])], overlays, pictures, jobs)
    print(TABLES[number](find_runs(runs)))


def _folder(config: str, seed: int, runs: Path, overlays: list[str], pictures: str | None) -> Path:
    """Of a run; other settings are other runs."""
    parts = [Path(config).stem, *(Path(file).stem for file in overlays), *([Path(pictures).stem] if pictures else [])]
    return runs / f"{'_'.join(parts)}_seed{seed}"


def _is_tested(folder: Path) -> bool:
    return any(folder.glob(f"version_*/{TESTS}"))


def _fit_all(todo: list[tuple[str, int, Path]], overlays: list[str], pictures: str | None, jobs: int) -> None:
    """Train and test, several at a time; one that fails keeps the rest from starting."""
    remaining = Remaining()
    remaining.text(0.0)

    def fit_and_test(i: int) -> None:
        config, seed, folder = todo[i]
        _tell(f"run {i + 1} of {len(todo)}: {config}, seed {seed}")
        _fit_and_test(config, seed, folder, overlays, pictures, jobs)

    with ThreadPoolExecutor(jobs) as pool:
        started = [pool.submit(fit_and_test, i) for i in range(len(todo))]
        try:
            for done, future in enumerate(as_completed(started), 1):
                future.result()
                _tell(f"{done} of {len(todo)} runs done, {remaining.text(done / len(todo))}")
        finally:
            pool.shutdown(cancel_futures=True)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # the standard output has the table alone


def _fit_and_test(config: str, seed: int, folder: Path, overlays: list[str], pictures: str | None, jobs: int) -> None:
    logger = "--trainer.logger.init_args"
    options = [f"--config={file}" for file in (config, *overlays)]
    options += ["--data=ImageFolder", f"--data.init_args.root={pictures}"] if pictures else []
    options += [f"--seed_everything={seed}", f"{logger}.save_dir={folder.parent}", f"{logger}.name={folder.name}"]
    _run("fit", *options, "--ckpt_path=last", name=folder.name, jobs=jobs)
    best = max(folder.glob("version_*/checkpoints/best.ckpt"), key=os.path.getmtime, default=None)
    if best is None:
        raise DataError(f"expected a checkpoint below {folder}; got none: look at what fit printed")
    _run("test", f"--ckpt_path={best}", name=folder.name, jobs=jobs)


def _run(*args: str, name: str, jobs: int) -> None:
    """A subcommand in a process of its own, so that runs share neither memory nor seeds.

    Alone it has the terminal; of several at once each line begins with the run's name.
    """
    command = [sys.executable, "-m", "lightning_flows", *args]
    if jobs == 1:
        status = subprocess.run(command, check=False, stdout=2).returncode
    else:
        threads = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // jobs))}
        with subprocess.Popen(
            command, env=os.environ | threads, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            for line in process.stdout or ():
                _tell(f"{name}: {line.rstrip()}")
        status = process.returncode
    if status:
        raise UsageError(f"`{args[0]}` of {name} ended with status {status}: what it printed tells why")
