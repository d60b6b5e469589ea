"""Check the config and records of a run, so that other code can rely on their structure."""

from pathlib import Path
from typing import Any, get_args

from lightning_flows.errors import DataError
from lightning_flows.reporting.tables.scalars import LARGEST

COMPONENT: dict[str, Any] = {"class_path": str, "init_args": {}}
MODEL = COMPONENT | {"init_args": {"flow?": COMPONENT, "dequantization?": COMPONENT, "posterior?": COMPONENT}}
CONFIG = {
    "seed_everything": int | bool | None,
    "model": MODEL,
    "data": COMPONENT | {"init_args": {"steps_per_epoch?": int | None, "downsample?": int}},
    "trainer": {"max_steps?": int | None, "max_epochs?": int | None},
}
"""Config of a run. Here and below: keys of mappings, which are optional if they end with ?, and types of values."""
TEST = {
    "metrics": {},
    "model": MODEL,
    "data": COMPONENT | {"init_args": {"mixture?": str | None, "root?": str | None, "downsample?": int}},
    **dict.fromkeys(("num_items", "num_parameters", "global_step"), int),
    **dict.fromkeys(("is_other_data?", "is_partial?"), bool),
    "num_parameters_of?": {"posterior?": int},
    "items?": {"file": str, "digest": str, "seed": int, "num_repeated": int},
    **dict.fromkeys(("checkpoint", "torch"), str),
    "time": float,
}
"""Record of a test; metrics that start with ``test/`` are numbers."""
RUNTIME = {
    **dict.fromkeys(
        (
            "train_step_seconds?", "images_per_second?", "sample_seconds_per_image?", "sample_cpu_seconds_per_image?",
            "peak_memory_bytes?", "cpu_seconds?", "num_devices?", "batch_size?", "train_step_cpu_seconds?",
            "num_steps?",
        ),
        float,
    ),
    **dict.fromkeys(("device?", "precision?", "torch?", "lightning_flows?"), str),
}  # fmt: skip
"""Record of RuntimeMonitor."""
RECORD = {"state?": str, "ended?": float}
"""Record of the state of a run."""


def check(value: Any, schema: Any, path: Path, key: str = "") -> Any:
    """Return a record if it matches ``schema``, with components as mappings of class path and arguments.

    Raises: DataError that names the file and the first entry that does not match. ``float`` means a number whose
        absolute value is at most LARGEST.
    """
    if isinstance(schema, dict):
        if "class_path" in schema:
            value = _component(value)
        if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
            raise _other(value, "names with values", key, path)
        found = dict(value)
        for name, part in schema.items():
            plain = name.rstrip("?")
            if plain in value or plain == name:
                found[plain] = check(value.get(plain), part, path, f"{key}.{plain}".lstrip("."))
        return found
    kind = int | float if schema is float else schema
    unlike = not isinstance(value, kind) or (isinstance(value, bool) and bool not in (*get_args(schema), schema))
    if unlike or (schema is float and not abs(value) <= LARGEST):
        expected = f"a finite number of at most {LARGEST:g}" if schema is float else getattr(schema, "__name__", schema)
        raise _other(value, expected, key, path)
    return value


def check_test(test: Any, path: Path) -> dict[str, Any]:
    """Check the record of a test; see :func:`check`."""
    test = check(test, TEST, path)
    metrics = {f"{name}?": float for name in test["metrics"] if name.startswith("test/")}
    return test | {"metrics": check(test["metrics"], metrics, path)}


def _component(value: Any) -> Any:
    """Convert a class path without arguments to a mapping of both."""
    value = {"class_path": value} if isinstance(value, str) else value
    if isinstance(value, dict) and value.get("init_args") is None:
        return {**value, "init_args": {}}
    return value


def _other(value: Any, expected: str, key: str, path: Path) -> DataError:
    text = repr(value) if isinstance(value, int | float | str | None) else type(value).__name__
    return DataError(f"in {path.name}, {key or 'the content'} is {text[:60]}, not {expected}")
