"""Results of each item of a test: a file next to ``tests.jsonl``, and its entry in the record of the test.

The file ``items_N.npz`` contains an array ``index`` of positions in the split, in increasing order, and an array for
each NAME whose mean is the metric ``test/NAME``, such as ``loss`` and ``nll_bpd``. The record names the file, and what
the items were: a digest of their contents, and the seed of their noise.
"""

import io
import itertools
import os
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from lightning_flows.errors import DataError, OutputError, shortened
from lightning_flows.files import created
from lightning_flows.reporting.tables.run_files import read_bytes
from lightning_flows.reporting.tables.runs import Run

MAX_ITEMS, MAX_ARRAYS = 2**22, 8
"""Limits of a file."""
NAME = re.compile(r"items_\d{1,9}\.npz")
ROUNDING = 1e-6
"""Relative error of a metric that was logged in float32."""


@dataclass(frozen=True)
class Items:
    """Results of N items.

    Args:
        index: positions in the split, int64 ``(N,)``, in increasing order.
        values: results by name, float64 ``(N,)``.
        digest: equal if two tests are of the same items.
        seed: seed of the noise, which depends only on it and the index.
    """

    index: np.ndarray
    values: Mapping[str, np.ndarray]
    digest: str
    seed: int


def write_items(folder: Path, index: np.ndarray, values: Mapping[str, np.ndarray]) -> str:
    """Write results to a new file in a run folder, atomically; return its name. Existing files are kept.

    Raises: OutputError if there are more than 4 million items or 7 results, or the file cannot be written.
    """
    if len(index) > MAX_ITEMS or len(values) >= MAX_ARRAYS:
        raise OutputError(f"{len(index)} items with {len(values)} results do not fit in a file")
    for number in itertools.count():
        path = folder / f"items_{number}.npz"
        if os.path.lexists(path):
            continue
        try:
            with created(path) as file, zipfile.ZipFile(file, "w") as archive:
                for name, array in {"index": index, **values}.items():
                    with archive.open(f"{name}.npy", "w") as member:
                        npy.write_array(member, array, allow_pickle=False)
        except OutputError:
            if os.path.lexists(path):  # another process was faster
                continue
            raise
        return path.name
    raise AssertionError


def read_items(run: Run) -> Items | None:
    """Results of the items of a run's test; None if the record has none.

    Raises: DataError if the file is missing or broken, or does not match the record.
    """
    if not (record := run.test.get("items")):
        return None
    path, num = run.folder / record["file"], run.test["num_items"]
    if not NAME.fullmatch(record["file"]) or not 0 < num <= MAX_ITEMS:
        raise DataError(f"the record of {run.folder} has {num} items in {path.name[:60]!r}: rerun the test")
    try:
        content = read_bytes(path, run.folder, MAX_ARRAYS * (8 * num + 1024))
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = [member.filename.removesuffix(".npy") for member in archive.infolist()]
            if len(names) > MAX_ARRAYS:
                raise DataError(f"it has {len(names)} arrays")
            arrays = {name: _read(archive, name, num) for name in names}
        index = arrays.pop("index")
        _check(index, arrays, run)
    except Exception as error:  # a crafted file may raise anything
        reason = shortened(str(error) or type(error).__name__)
        raise DataError(f"{path} does not contain the results of {num} items: {reason}; rerun the test") from error
    return Items(index, arrays, record["digest"], record["seed"])


def _read(archive: zipfile.ZipFile, name: str, num: int) -> np.ndarray:
    from lightning_flows.data.datasets.array_files import read_npy  # its package imports torch

    with archive.open(f"{name}.npy") as file:
        values = read_npy(file, name, (num,))
    if values.dtype != (kind := np.dtype(np.int64 if name == "index" else np.float64)):
        raise DataError(f"{name} is {values.dtype}, not {kind}")
    return values


def _check(index: np.ndarray, values: Mapping[str, np.ndarray], run: Run) -> None:
    """Raise DataError unless indices increase, values are finite, and their means are those of the record."""
    if index[0] < 0 or (np.diff(index) <= 0).any():
        raise DataError("index does not increase from 0 or more")
    for name, each in values.items():
        if not np.isfinite(each).all():
            raise DataError(f"{name} is not finite")
        mean, metric = each.mean(), run.metrics.get(f"test/{name}")
        if metric is None:
            raise DataError(f"the record has no test/{name}")
        if not run.test["items"]["num_repeated"] and abs(mean - metric) > ROUNDING * max(1, abs(metric)):
            raise DataError(f"the mean of {name} is {mean:.7g}, but test/{name} is {metric:.7g}")
