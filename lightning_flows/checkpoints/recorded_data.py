"""What a checkpoint records of its data: how to rebuild it, and a fingerprint of its files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_warn

from lightning_flows.checkpoints.plain import describe
from lightning_flows.data_identity import NUMBERS, OF_TRAINING, PATHS, identity, same_path
from lightning_flows.errors import shortened


def data_record(data: Any) -> dict[str, Any]:
    """Entries of a checkpoint: class path and arguments of its data, and the fingerprint of its files, if any."""
    fingerprint = getattr(data, "fingerprint", None)
    return {"data": describe(data), **({"data_fingerprint": fingerprint} if isinstance(fingerprint, str) else {})}


def has_changed(record: Mapping[str, Any], data: Any) -> bool:
    """Whether other files are now at the place of the data that a checkpoint records.

    False if ``data`` is of another class or from another place, and if either has no fingerprint. A relative path is
    that from the current folder, which may contain other files than the one where the checkpoint was trained.

    Args:
        record: entry ``lightning_flows`` of a checkpoint.
        data: data module in use.
    """
    then = record.get("data")
    return then is not None and _place(then) == _place(describe(data)) and _has_other_files(record, data) is True


def is_same(record: Mapping[str, Any], data: Any) -> bool:
    """Whether ``data`` are those that a checkpoint records, split in the same way, even if their files have moved.

    The number of generated items may differ. Without fingerprints, files are the same if their path is. True if the
    checkpoint does not record its data.
    """
    if (then := record.get("data")) is None:
        return True
    has_other_files = _has_other_files(record, data)
    free = OF_TRAINING | NUMBERS | (set() if has_other_files is None else PATHS)
    return not has_other_files and identity(then, free) == identity(describe(data), free)


def _place(described: Mapping[str, Any]) -> tuple[Any, ...]:
    """Class path of data, and where its files are."""
    return described["class_path"], *(same_path(name, described["init_args"].get(name)) for name in sorted(PATHS))


def _has_other_files(record: Mapping[str, Any], data: Any) -> bool | None:
    """Whether fingerprints differ; None if one is not known."""
    before, after = record.get("data_fingerprint"), getattr(data, "fingerprint", None)
    return None if before is None or after is None else before != after


def warn_of_changes(record: Mapping[str, Any], data: Any) -> None:
    """Warn if other files are now at the place of the data that a checkpoint records, see :func:`has_changed`."""
    if has_changed(record, data):
        rank_zero_warn(
            f"{place_of(data)} is not the data that the checkpoint was trained on, but has {_size(data.fingerprint)} "
            f"instead of {_size(record['data_fingerprint'])}: pass the path of that data, unless it changed on purpose"
        )


def _size(fingerprint: object) -> str:
    return shortened(str(fingerprint).partition(",")[0])


def place_of(data: Any) -> str:
    """Path of the files of data, from the current folder if it is relative."""
    return next(repr(str(Path(data.hparams[name]))) for name in sorted(PATHS) if name in data.hparams)
