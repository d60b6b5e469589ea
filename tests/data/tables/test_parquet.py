"""Parquet files, where pyarrow is installed."""

import sys
from pathlib import Path

import pytest

from lightning_flows.data.tables import open_table
from lightning_flows.errors import DataError


def test_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "a.parquet").write_bytes(b"PAR1....PAR1")
    with pytest.raises(DataError, match="pip install pyarrow, or export it as CSV"):
        open_table(tmp_path / "a.parquet")


def test_what_is_read(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="Parquet is optional")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    table = {"id": [1, 2, 3], "x": [0.5, None, 2.5], "name": ["a", "b", "c"], "on": [True, False, True]}
    parquet.write_table(pyarrow.table(table), path)
    found = open_table(path)
    assert found.names == ["id", "x", "name", "on"]
    assert found.max_rows() == 3
    assert found.read([3, 0]).tolist() == [[1, 1], [0, 2], [1, 3]]
    with pytest.raises(DataError, match=r"row 2 \(counted from 1\), column x: the value is missing \(NaN\)"):
        found.read([0, 1])
    with pytest.raises(DataError, match=r"column name: string is not a number: leave out the column"):
        found.read([2])
    large = {"id": [2**60 + 1, 2**61 + 1]}
    parquet.write_table(pyarrow.table(large), tmp_path / "large.parquet")
    assert open_table(tmp_path / "large.parquet").read([0]).tolist() == [[float(2**60)], [float(2**61)]]
    damaged = bytearray(path.read_bytes())
    damaged[4:40] = bytes(255 - each for each in damaged[4:40])
    (tmp_path / "damaged.parquet").write_bytes(damaged)
    with pytest.raises(DataError, match=r"damaged.parquet is damaged \(.*\): use an intact copy"):
        open_table(tmp_path / "damaged.parquet").read([0, 3])
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(DataError, match="is truncated or not a Parquet file"):
        open_table(path)
