"""NumPy arrays: shapes, orders and types, errors that name row and column, and files that are damaged."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_flows.data.tables import arrays as module
from lightning_flows.data.tables import open_table
from lightning_flows.data.tables.base import TableFile
from lightning_flows.errors import DataError

VALUES = np.arange(35.0).reshape(7, 5)


def saved(folder: Path, array: np.ndarray, kind: str = "npy") -> TableFile:
    path = folder / f"my.{kind}"
    np.save(path, array) if kind == "npy" else np.savez_compressed(path, array)
    return open_table(path)


@pytest.mark.parametrize("kind", ["npy", "npz"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["f4", ">f8", "i2", "u1", "f2"])
def test_what_is_read(kind: str, order: str, dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 3)
    table = saved(tmp_path, np.asarray(VALUES.astype(dtype), order=order), kind)
    assert table.names == [f"column_{i}" for i in range(1, 6)]
    assert not table.has_names
    found = table.read([3, 0])
    assert found.dtype == torch.float32
    assert torch.equal(found, torch.from_numpy(VALUES[:, [3, 0]]).float())


def test_a_single_column(tmp_path: Path) -> None:
    assert saved(tmp_path, np.array([True, False])).read([0]).tolist() == [[1.0], [0.0]]


@pytest.mark.parametrize("kind", ["npy", "npz"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize(
    ("value", "problem"), [(np.nan, "is missing"), (-np.inf, "is -infinite"), (1e300, r"1e\+300 exceeds float32")]
)
def test_faults_name_row_and_column(
    kind: str, order: str, value: float, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK", 3)
    values = VALUES.copy(order=order)
    values[4, 2] = value
    table = saved(tmp_path, values, kind)
    with pytest.raises(DataError, match=rf"my\.{kind}, row 5, column 3 \(counted from 1\): the value {problem}"):
        table.read([1, 2])
    assert table.read([0, 1]).shape == (7, 2)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 3, 4)), r"has an array of shape \(2, 3, 4\): use one of shape \(rows, columns\)"),
        (np.array(1.0), r"has an array of shape \(\)"),
        (np.zeros((2, 3), complex), "has an array of complex128"),
        (np.array([["a", "b"]]), "has an array of <U1"),
        (np.zeros((3, 0)), "has no columns"),
        (np.zeros((1, 1_000_000), "u1"), "has 1,000,000 columns, and at most 4,096 are supported"),
    ],
)
def test_arrays_that_are_no_tables(array: np.ndarray, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        saved(tmp_path, array)


def test_pickled_objects_are_not_read(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[{}]], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="has an array of object"):
        open_table(tmp_path / "a.npy")


def test_several_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", data=VALUES, labels=np.zeros(7))
    with pytest.raises(DataError, match=r"has several arrays \(data, labels\): choose one with --data\.array"):
        open_table(tmp_path / "a.npz")
    assert open_table(tmp_path / "a.npz", array="data").read([0]).shape == (7, 1)
    with pytest.raises(DataError, match="has no array dta: choose one of data, labels"):
        open_table(tmp_path / "a.npz", array="dta")


@pytest.mark.parametrize("kind", ["npy", "npz"])
@pytest.mark.parametrize("length", [7, 40, -8])
def test_truncated_files(kind: str, length: int, tmp_path: Path) -> None:
    path = saved(tmp_path, VALUES, kind).path
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(DataError, match=r"is truncated|is damaged"):
        open_table(path).read([0])


def test_other_files(tmp_path: Path) -> None:
    (tmp_path / "a.csv.gz").write_bytes(b"\x1f\x8b\x08\x00")
    with pytest.raises(DataError, match="is compressed: decompress it first"):
        open_table(tmp_path / "a.csv.gz")
    with pytest.raises(DataError, match="is a folder: pass a CSV"):
        open_table(tmp_path)
    with pytest.raises(DataError, match="does not exist: pass a CSV"):
        open_table(tmp_path / "nothing.csv")
    with pytest.raises(DataError, match="cannot be read"):
        open_table("x" * 5000)
