"""Validate the config and records of a run, so that all other code can rely on them."""

import math
from pathlib import Path
from typing import Any

from lightning_flows.errors import DataError

NUMBERS = (
    "train_step_seconds", "images_per_second", "sample_seconds_per_image", "peak_memory_bytes", "cpu_seconds",
    "num_devices", "batch_size",
)  # fmt: skip
"""Numeric entries of a runtime record, all optional."""
TEXTS = ("device", "torch", "lightning_flows")
LIMITS = ("max_steps", "max_epochs")

ARGUMENTS: dict[str, dict[str, type]] = {
    "MixingFlow": {"mixing": str},
    "CouplingFlow": {"dequantization": str},
    "ResidualFlow": {"dequantization": str, "equal_memory": bool},
    "CSF": {"dequantization": str, "ablation": str},
    "GraphNormalizingFlow": {"exponential": bool},
}
"""Arguments by which the paper's tables distinguish models."""


def check_config(config: Any, path: Path) -> dict[str, Any]:
    """Validate the config of a run: seed, model, data, trainer. Raises: DataError if it is malformed."""
    config = _mapping(config, "", path)
    _typed(config.get("seed_everything"), int | None, "seed_everything", path)
    for key in ("model", "data"):
        _check_class(config.get(key), key, path)
    trainer = _mapping(config.get("trainer"), "trainer", path)
    for key in LIMITS:
        _typed(trainer.get(key), int | None, f"trainer.{key}", path)
    _typed(config["data"]["init_args"].get("steps_per_epoch"), int | None, "data.init_args.steps_per_epoch", path)
    return config


def check_test(test: Any, path: Path) -> dict[str, Any]:
    """Validate the record of a test. Raises: DataError if it is malformed, or a result is not a finite number."""
    test = _mapping(test, "", path)
    if "num_items" not in test:
        raise DataError(f"expected tests of this version in {path}; got older ones: move it away, test again")
    for key in ("num_items", "num_parameters", "global_step"):
        _number(test.get(key), key, path)
        _typed(test.get(key), int, key, path)
    _number(test.get("time"), "time", path)
    for key in ("checkpoint", "torch"):
        _typed(test.get(key), str, key, path)
    for key in ("model", "data"):
        _check_class(test.get(key), key, path)
    for name, value in _mapping(test.get("metrics"), "metrics", path).items():
        if str(name).startswith("test/"):
            _number(value, name, path)
    model = test["model"]
    for name, kind in ARGUMENTS.get(model["class_path"].rpartition(".")[2], {}).items():
        if name in model["init_args"]:  # a user's class may share only the name
            _typed(model["init_args"][name], kind, f"model.init_args.{name}", path)
    for key in ("mixture", "root"):
        _typed(test["data"]["init_args"].get(key), str | None, f"data.init_args.{key}", path)
    return test


def check_runtime(runtime: Any, path: Path) -> dict[str, Any]:
    """Validate the record of RuntimeMonitor. Raises: DataError if it is malformed."""
    runtime = _mapping(runtime, "", path)
    for key in runtime.keys() & set(NUMBERS):
        _number(runtime[key], key, path)
    for key in runtime.keys() & set(TEXTS):
        _typed(runtime[key], str, key, path)
    return runtime


def _check_class(value: Any, key: str, path: Path) -> None:
    """Validate a class path and its arguments; missing arguments become an empty dict."""
    value = _mapping(value, key, path)
    _typed(value.get("class_path"), str, f"{key}.class_path", path)
    if value.get("init_args") is None:
        value["init_args"] = {}
    _mapping(value["init_args"], f"{key}.init_args", path)


def _mapping(value: Any, key: str, path: Path) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise _other(value, "names with values", key, path)
    return value


def _typed(value: Any, kind: Any, key: str, path: Path) -> None:
    if not isinstance(value, kind):
        raise _other(value, str(getattr(kind, "__name__", kind)), key, path)


def _number(value: Any, key: str, path: Path) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _other(value, "a finite number", key, path)


def _other(value: Any, expected: str, key: str, path: Path) -> DataError:
    text = repr(value) if isinstance(value, int | float | str | None) else type(value).__name__
    return DataError(
        f"expected a whole run in {path.parent}; got {path.name}, whose {key or 'content'} is {text[:60]}, not "
        f"{expected}: move it away or test it again"
    )
