"""Arrays in files: layouts, headers that lie, gray levels, and errors that name file, fact and remedy."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from lightning_flows.data.datasets.array_files import names_in, read_array, reading, shape_of, to_levels
from lightning_flows.errors import DataError

VALUES = np.arange(24).reshape(2, 3, 4)


@pytest.mark.parametrize("dtype", ["u1", "<i4", ">f8", "?"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays(tmp_path, dtype, order):
    values = np.asarray(VALUES.astype(dtype), order=order)
    np.save(tmp_path / "a.npy", values)
    np.savez(tmp_path / "b.npz", x=values, y=3)
    np.savez_compressed(tmp_path / "c.npz", x=values)
    for name in ("a.npy", "b.npz", "c.npz"):
        assert np.array_equal(read_array(tmp_path / name, "x", (2, None, 4)), values)
        assert shape_of(tmp_path / name, "x") == (2, 3, 4)
    assert names_in(tmp_path / "b.npz") == ["x", "y"]
    assert names_in(tmp_path / "a.npy") == []


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 5), (2, 3, 4, 1)])
def test_another_shape(tmp_path, shape):
    np.save(tmp_path / "a.npy", VALUES)
    with pytest.raises(DataError, match=r"has x of shape 2 x 3 x 4, not 2 x 3"):
        read_array(tmp_path / "a.npy", "x", shape)


def header(shape: str) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (1, 1)})
    return file.getvalue().replace(b"(1, 1)", shape.encode())


@pytest.mark.parametrize(
    ("shape", "fact"), [("(9999999999999, 9)", "more than the free memory"), ("(7, 9)", "has only 5 of 63 bytes")]
)
def test_a_header_that_lies(tmp_path, shape, fact):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", header(shape) + b"12345")
    with pytest.raises(DataError, match=fact):
        read_array(tmp_path / "a.npz", "x", (None, None))


def test_objects_are_not_unpickled(tmp_path):
    np.save(tmp_path / "a.npy", np.array([Path("x")], object))
    with pytest.raises(DataError, match="has x of object, not of numbers"):
        read_array(tmp_path / "a.npy", "x", (None,))


@pytest.mark.parametrize("dtype", ["u1", "i8", "f4", "f8"])
def test_levels(dtype):
    levels = np.arange(256, dtype=np.uint8)
    for values in (levels.astype(dtype), levels / np.float32(255), levels / 255):
        found = to_levels(values)
        assert found.dtype == np.uint8
        assert np.array_equal(found, levels)
    assert to_levels(np.array([0.1, 0.9991]), rounded=True).tolist() == [26, 255]


@pytest.mark.parametrize("values", [[0.5], [-1.0], [256.0], [np.nan], [np.inf], [3, 4.5], [-0.2, 0.5]])
def test_other_numbers_are_not_levels(values):
    with pytest.raises(DataError, match="neither levels 0 to 255 nor multiples of 1/255"):
        to_levels(np.array(values))
    if values not in ([0.5], [3, 4.5]):
        with pytest.raises(DataError, match="neither levels"):
            to_levels(np.array(values), rounded=True)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (DataError("has no images"), "a.npz has no images: buy some"),
        (FileNotFoundError(), "a.npz does not exist: buy some"),
        (NotADirectoryError(), "a.npz does not exist: buy some"),
        (PermissionError(13, "Permission denied"), "a.npz cannot be read (Permission denied): buy some"),
        (ValueError("first\nsecond"), "a.npz cannot be read (first): buy some"),
        (EOFError(), "a.npz cannot be read (EOFError): buy some"),
    ],
)
def test_errors_name_file_fact_and_remedy(error, text):
    with pytest.raises(DataError) as caught, reading(Path("a.npz"), "buy some"):
        raise error
    assert str(caught.value) == text
