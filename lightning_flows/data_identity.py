"""Whether two configs or checkpoints describe the same data. Does not import torch, so that the report can use it."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

PATHS = {"root", "path"}
"""Arguments of data that are files or folders, which have several names."""
OF_TRAINING = {
    "batch_size", "eval_batch_size", "num_workers", "worker_timeout", "augment", "shift", "steps_per_epoch",
    "skip_broken",
}  # fmt: skip
"""Arguments of data that do not affect the items of an evaluation, or only leave out those that cannot be read."""
NUMBERS = {"num_val", "num_test"}
"""Arguments of generated data: how many items of the same density are drawn."""


def identity(described: Mapping[str, Any], without: Collection[str] = OF_TRAINING) -> tuple[str, dict[str, Any]]:
    """Class path and arguments of data, in a form in which equal ones compare as equal."""
    arguments = {key: same_path(key, value) for key, value in described["init_args"].items() if key not in without}
    return described["class_path"], arguments


def same_path(name: str, value: Any) -> Any:
    """Value of an argument in the form in which equal ones compare as equal.

    >>> same_path("root", "images/../images") == same_path("root", "images"), same_path("size", (8, 8))
    (True, [8, 8])
    """
    if name in PATHS and isinstance(value, str) and "\0" not in value:
        return str(Path(value).resolve())
    return list(value) if isinstance(value, tuple) else value
