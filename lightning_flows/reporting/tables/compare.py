"""Check that runs are comparable, and describe what they were measured on."""

from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from lightning_flows.errors import DataError
from lightning_flows.reporting.tables.runs import Run
from lightning_flows.reporting.tables.timing import devices

EVALUATION = {
    "num_importance_samples",
    "importance_error",
    "eval_terms",
    "eval_probes",
    "exact_dims",
    "eval_chunk_size",
}
"""Arguments of the module or the flow that only affect the test: they are taken from its record."""
NOT_COMPARED = {"importance_error"}
NUMERICS = {"recompute"}
"""Arguments that only change memory and time."""
PAPER_IMAGES = "Paper: CIFAR-10, four GTX 1080 Ti; compare with its numbers only at its settings."


class DifferError(DataError):
    """Runs that differ in more than a table compares."""


def check_comparable(
    runs: Sequence[Run], *, free: Callable[[Run], Collection[str]], components: Collection[str] = ()
) -> None:
    """Raise DifferError unless runs agree in all settings of model, data, training and test that they share.

    The seed and the arguments ``free(run)``, of the module, the flow or the dequantization, may differ; for a
    component, its class may differ. Those in ``components`` may differ in their class and all of their arguments.
    """
    seen: dict[str, tuple[Any, Path]] = {}
    for run in runs:
        for key, value in _settings(run, free(run)).items():
            if any(f".{name}." in key for name in components):
                continue
            other, folder = seen.setdefault(key, (value, run.folder))
            if other != value:
                names = ", ".join([*sorted({*free(run), *components}), "the seed"])
                raise DifferError(
                    f"runs of a table may only differ in {names}; {folder} has {key}: {other}, but {run.folder} "
                    f"{value}: keep them in separate folders"
                )


def check_items(runs: Sequence[Run]) -> None:
    """Raise DifferError unless runs whose results are averaged were tested on the same items, as far as is recorded."""
    seen: dict[str, Path] = {}
    for run in runs:
        if "items" in run.test:
            seen.setdefault(run.test["items"]["digest"], run.folder)
    if len(seen) > 1:
        first, other, *_ = seen.values()
        raise DifferError(f"{first} and {other} were tested on different items: rerun `test` on the same data")


def _settings(run: Run, free: Collection[str]) -> dict[str, Any]:
    trainer = {k: v for k, v in run.config["trainer"].items() if k not in ("logger", "callbacks", "default_root_dir")}
    given = {key: run.config.get(key) for key in ("model", "data", "optimizer", "lr_scheduler")}
    trained = _flat({**given, "trainer": trainer})
    tested = _flat({"test": {"num_items": run.test["num_items"], "checkpoint": run.test["checkpoint"]}})
    model = _flat({"model": run.test["model"]})
    settings = {key: value for key, value in trained.items() if _argument(key) not in EVALUATION}
    settings |= {key: value for key, value in model.items() if _argument(key) in EVALUATION - NOT_COMPARED} | tested
    return {key: value for key, value in settings.items() if _argument(key) not in {*free, *NUMERICS}}


def _argument(key: str) -> str:
    """Name of an argument; for a class path, that of its component.

    >>> _argument("model.init_args.flow.class_path"), _argument("model.init_args.flow.init_args.mixing")
    ('flow', 'mixing')
    """
    return key.removesuffix(".class_path").rpartition(".")[2]


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Leaves of nested mappings by dotted path."""
    if not isinstance(value, dict):
        return {prefix: value}
    return {
        key: leaf for name, part in value.items() for key, leaf in _flat(part, f"{prefix}.{name}".lstrip(".")).items()
    }


def one_per_seed(runs: Sequence[Run]) -> list[Run]:
    """The most recently tested run of each seed of a row.

    Raises: DifferError if any runs, including superseded ones, differ in more than the seed, or if the runs that
        remain were tested on different items. Superseded tests may have other numbers of importance samples.
    """
    check_comparable(runs, free=lambda run: {"num_importance_samples"})
    newest = newest_by_seed(runs)
    check_comparable(newest, free=lambda run: set())
    check_items(newest)
    return newest


def newest_by_seed(runs: Sequence[Run]) -> list[Run]:
    """Keep the most recently tested of the runs with the same seed, and all runs without one."""
    in_order = sorted(runs, key=lambda run: run.test["time"])
    return list({run.folder if run.seed is None else run.seed: run for run in in_order}.values())


def metric(runs: Sequence[Run], name: str) -> list[float]:
    """A metric of runs; empty unless all of them have it."""
    values = [run.metrics.get(name) for run in runs]
    return [] if None in values else values  # type: ignore[return-value]


def measured_on(runs: Sequence[Run], paper: str = PAPER_IMAGES) -> str:
    """A sentence on the data, from the first run, and on the hardware of all."""
    test = runs[0].test
    data = test["data"]["init_args"]
    place = data.get("root") or data.get("path")
    root = f" ({Path(place).name})" if isinstance(place, str) else ""
    steps = ", ".join(map(str, sorted({run.test["global_step"] for run in runs})))
    draws = _any_of(f"{draws:.0f}" for run in runs if (draws := run.metrics.get("test/importance_samples")))
    where = " or ".join(devices(runs))
    batches = sorted({run.runtime["batch_size"] for run in runs if "batch_size" in run.runtime})  # of timed steps
    batch = f", batch {' or '.join(map(str, batches))}" if batches else ""
    versions = _any_of(run.runtime["lightning_flows"] for run in runs if "lightning_flows" in run.runtime)
    num = _any_of(str(run.test["num_items"]) for run in runs)
    parts = [
        f"Measured here: {num} test {'graphs' if 'mixture' in data else 'images'} of "
        f"{test['data']['class_path'].rpartition('.')[2]}{root}, checkpoint {test['checkpoint']} after {steps} steps",
        f"NLL from {draws} importance samples per image" if draws else "",
        f"runtimes on {where}{batch}" + f", lightning_flows {versions}" * bool(versions) if where else "",
        f"torch {_any_of(run.test['torch'] for run in runs)}. {paper}",
    ]
    return "; ".join(part for part in parts if part)


def _any_of(names: Iterable[str]) -> str:
    """Distinct names, in order.

    >>> _any_of(["CPU", "GPU", "CPU"])
    'CPU or GPU'
    """
    return " or ".join(dict.fromkeys(names))
