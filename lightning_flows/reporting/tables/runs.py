"""Finished runs: what a run folder tells about its training and tests."""

import statistics
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lightning_flows.errors import DataError
from lightning_flows.reporting.tables.events import Curve, Scalars, read_scalars
from lightning_flows.reporting.tables.records import check_config, check_runtime, check_test
from lightning_flows.reporting.tables.run_files import MAX_CONFIG, MAX_RECORDS, parse_json, parse_yaml, read_text

CONFIG, TESTS, RUNTIME = "config.yaml", "tests.jsonl", "runtime.json"
"""Files in a run folder: the whole config, a line for each ``test`` of one of its checkpoints, and runtimes."""


@dataclass(frozen=True)
class Run:
    """A run that was trained and tested.

    Args:
        folder: the run folder.
        config: the config that it was trained with.
        test: record of its last test on the data that it was trained on.
        runtime: what RuntimeMonitor measured; empty without it.
    """

    folder: Path
    config: dict[str, Any]
    test: dict[str, Any]
    runtime: dict[str, Any]

    @property
    def model(self) -> dict[str, Any]:
        """Arguments of the model."""
        return self.test["model"]["init_args"]

    def curve(self, tag: str) -> Curve:
        """Steps and values of a scalar that was logged for TensorBoard; empty if there is none."""
        return self.scalars.curves.get(tag, [])

    @cached_property
    def scalars(self) -> Scalars:
        """All curves, read once."""
        return read_scalars(self.folder)

    @property
    def seed(self) -> Any:
        """Seed of the training."""
        return self.config.get("seed_everything")


def find_runs(folder: str | Path, tell: Callable[[str], object] | None = None) -> list[Run]:
    """Tested runs anywhere below a folder, sorted by name; unfinished runs and tests on other data are left out.

    Args:
        folder: folder to search.
        tell: called with a message for each broken run, which is then skipped.
    Raises: DataError if there are no runs, or, without ``tell``, if one is broken.
    """
    runs = []
    for path in sorted(Path(folder).rglob(TESTS)):
        try:
            run = read_run(path.parent)
        except DataError as error:
            if tell is None:
                raise
            tell(str(error))
        else:
            runs += [run] if run is not None else []
    if not runs:
        raise DataError(
            f"expected tested runs below {folder}; got none: train with `fit`, then "
            "`test --ckpt_path RUN/checkpoints/best.ckpt`"
        )
    return runs


def read_run(folder: Path) -> Run | None:
    """The run in a folder; None if it has no test on its own data. Raises: DataError if a file is missing or broken."""
    try:
        config = parse_yaml(read_text(folder / CONFIG, folder, MAX_CONFIG), folder / CONFIG)
        lines = read_text(folder / TESTS, folder, MAX_RECORDS).splitlines()
        tests = [parse_json(line, f"line {i} of {folder / TESTS}") for i, line in enumerate(lines, 1)]
        runtime = folder / RUNTIME
        there = runtime.is_symlink() or runtime.exists()
        measured = parse_json(read_text(runtime, folder, MAX_RECORDS), runtime) if there else {}
    except (DataError, OSError) as error:
        raise DataError(
            f"expected a whole run in {folder}; got a broken one ({error}): move the folder away or test it again"
        ) from error
    config = check_config(config, folder / CONFIG)
    tests = [check_test(test, folder / TESTS) for test in tests]
    measured = check_runtime(measured, folder / RUNTIME)
    own = [test for test in tests if _source(test["data"]) == _source(config["data"])]
    return Run(folder, config, own[-1], measured) if own else None


def _source(data: dict[str, Any]) -> tuple[Any, ...]:
    options = data.get("init_args", {})
    return data["class_path"].rpartition(".")[2], options.get("root"), options.get("mixture"), options.get("means")


class DifferError(DataError):
    """Runs that differ in more than a table compares."""


def check_comparable(runs: Sequence[Run], *, free: Callable[[Run], Collection[str]]) -> None:
    """Raise DifferError unless runs agree in all shared settings of model, data, training and test.

    The seed, the folder and the model arguments ``free(run)`` may differ, in training and in the test.
    """
    seen: dict[str, tuple[Any, Path]] = {}
    for run in runs:
        for key, value in _settings(run, free(run)).items():
            other, folder = seen.setdefault(key, (value, run.folder))
            if other != value:
                raise DifferError(
                    f"expected runs that differ in {', '.join(sorted(free(run)))} and the seed alone; {folder} has "
                    f"{key}: {other}, and {run.folder} {value}: keep them in separate folders"
                )


def _settings(run: Run, free: Collection[str]) -> dict[str, Any]:
    """What must be equal; evaluation counts as it was tested, not as it was configured for training."""
    config = run.config
    evaluation = ("num_importance_samples", "importance_error", "eval_terms", "eval_probes", "eval_chunk_size")
    model = {k: v for k, v in config["model"]["init_args"].items() if k not in (*free, *evaluation)}
    trainer = {k: v for k, v in config["trainer"].items() if k not in ("logger", "callbacks", "default_root_dir")}
    test = {key: run.test[key] for key in ("num_items", "checkpoint")}
    test |= {key: run.model[key] for key in evaluation[:-1] if key in run.model and key not in free}
    return _flat({"model": {"init_args": model}, "data": config["data"], "trainer": trainer, "test": test})


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {prefix: value}
    return {
        key: leaf for name, part in value.items() for key, leaf in _flat(part, f"{prefix}.{name}".lstrip(".")).items()
    }


def newest_by_seed(runs: Sequence[Run]) -> list[Run]:
    """Of the runs with the same seed the one that was tested last."""
    return list({run.seed: run for run in sorted(runs, key=lambda run: run.test["time"])}.values())


PAPER_IMAGES = "Paper: CIFAR-10, four GTX 1080 Ti; compare with its numbers only at its settings."


def measured_on(runs: Sequence[Run], paper: str = PAPER_IMAGES) -> str:
    """A sentence on the data and the hardware, from the first run."""
    test, runtime = runs[0].test, runs[0].runtime
    items = "test graphs" if "mixture" in test["data"]["init_args"] else "test images"
    root = test["data"]["init_args"].get("root")
    steps = ", ".join(sorted({str(run.test["global_step"]) for run in runs}))
    draws = test["metrics"].get("test/importance_samples", 0)
    runtime = {"num_devices": 1, **runtime}
    batch = f", batch {runtime['batch_size']}" if "batch_size" in runtime else ""  # only timed steps tell it
    parts = [
        f"Measured here: {test['num_items']} {items} of {test['data']['class_path'].rpartition('.')[2]}"
        + (f" ({Path(root).name})" if root else "")
        + f", checkpoint {test['checkpoint']} after {steps} steps",
        f"NLL from {draws:.0f} importance samples an image" if draws else "",
        f"runtimes on {runtime['num_devices']} x {runtime['device']}{batch}" if "device" in runtime else "",
        f"torch {test['torch']}. {paper}",
    ]
    return "; ".join(part for part in parts if part)


def mean_and_deviation(values: Sequence[float], *, digits: int = 3) -> str:
    """Mean ± standard deviation; of a single value without deviation.

    >>> mean_and_deviation([3.0, 3.2]), mean_and_deviation([3.0])
    ('3.100 ± 0.141', '3.000')
    """
    mean = f"{statistics.fmean(values):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table.

    >>> print(markdown(["a", "b"], [["1", "2"]]))
    | a | b |
    |---|---|
    | 1 | 2 |
    """
    lines = [header, *rows]
    text = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([text[0], "|" + "---|" * len(header), *text[1:]])
