"""Finished runs: what a run folder tells about its training and tests."""

import json
import statistics
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from lightning_flows.errors import DataError
from lightning_flows.tables.events import Curve, Scalars, read_scalars

TESTS, RUNTIME = "tests.jsonl", "runtime.json"
"""Files in a run folder: a line for each ``test`` of one of its checkpoints, and what RuntimeMonitor measured."""


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


def find_runs(folder: str | Path) -> list[Run]:
    """Tested runs anywhere below a folder, sorted by name; unfinished ones and tests on other data are left out.

    Raises: DataError if there is none, or a file is broken.
    """
    found = [read_run(path.parent) for path in sorted(Path(folder).rglob(TESTS))]
    runs = [run for run in found if run is not None]
    if not runs:
        raise DataError(
            f"expected tested runs below {folder}; got none: train with `fit`, then "
            "`test --ckpt_path RUN/checkpoints/best.ckpt`"
        )
    return runs


def read_run(folder: Path) -> Run | None:
    """The run in a folder; None if it has no test on its own data. Raises: DataError if a file is missing or broken."""
    try:
        config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
        tests = [json.loads(line) for line in (folder / TESTS).read_text(encoding="utf-8").splitlines()]
        runtime = folder / RUNTIME
        measured = json.loads(runtime.read_text(encoding="utf-8")) if runtime.is_file() else {}
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise DataError(
            f"expected a whole run in {folder}; got {error}: move the folder away or test it again"
        ) from error
    if any("num_items" not in test for test in tests):
        raise DataError(f"expected tests of this version in {folder / TESTS}; got older ones: move it away, test again")
    own = [test for test in tests if _source(test["data"]) == _source(config["data"])]
    return Run(folder, config, own[-1], measured) if own else None


def _source(data: dict[str, Any]) -> tuple[Any, ...]:
    options = data.get("init_args", {})
    return data["class_path"].rpartition(".")[2], options.get("root"), options.get("mixture"), options.get("means")


def check_comparable(runs: Sequence[Run], *, free: Callable[[Run], Collection[str]]) -> None:
    """Raise DataError unless runs agree in all settings of model, data, training and test that they share.

    The seed, the folder and the arguments ``free(run)`` of the model may differ, in training and in the test.
    """
    seen: dict[str, tuple[Any, Path]] = {}
    for run in runs:
        for key, value in _settings(run, free(run)).items():
            other, folder = seen.setdefault(key, (value, run.folder))
            if other != value:
                raise DataError(
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


PAPER_PICTURES = "Paper: CIFAR-10, four GTX 1080 Ti; compare with its numbers only at its settings."


def measured_on(runs: Sequence[Run], paper: str = PAPER_PICTURES) -> str:
    """A sentence on the data and the hardware, from the first run."""
    test, runtime = runs[0].test, runs[0].runtime
    items = "test graphs" if "mixture" in test["data"]["init_args"] else "test pictures"
    root = test["data"]["init_args"].get("root")
    steps = ", ".join(sorted({str(run.test["global_step"]) for run in runs}))
    draws = test["metrics"].get("test/importance_samples")
    batch = f", batch {runtime['batch_size']}" if "batch_size" in runtime else ""  # only timed steps tell it
    parts = [
        f"Measured here: {test['num_items']} {items} of {test['data']['class_path'].rpartition('.')[2]}"
        + (f" ({Path(root).name})" if root else "")
        + f", checkpoint {test['checkpoint']} after {steps} steps",
        f"NLL from {draws:.0f} importance samples a picture" if draws else "",
        f"runtimes on {runtime['num_devices']} x {runtime['device']}{batch}" if runtime else "",
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
