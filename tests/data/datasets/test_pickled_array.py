"""Pickled arrays are read as data: every protocol and writer, and nothing else."""

import os
import pickle
from fractions import Fraction

import numpy as np
import pytest

from lightning_flows.data.datasets.pickled_array import unpickled_array
from lightning_flows.errors import DataError

VALUES = np.random.default_rng(0).integers(0, 256, (6, 4), dtype=np.uint8)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("dtype", ["u1", "f8", ">f4", "<i2", "?"])
@pytest.mark.parametrize("wrap", [lambda a: a, lambda a: [a], lambda a: (a, 3), lambda a: ([a, [a]],)])
def test_every_protocol(protocol, dtype, wrap):
    for array in (VALUES.astype(dtype), np.asfortranarray(VALUES.astype(dtype))):
        found = unpickled_array(pickle.dumps(wrap(array), protocol=protocol), (6, None))
        assert found.dtype == array.dtype
        assert np.array_equal(found, array)


RAW = VALUES.tobytes()
PYTHON2 = {
    0: b"cnumpy.core.multiarray\n_reconstruct\np0\n(cnumpy\nndarray\np1\n(I0\ntp2\nS'b'\np3\ntp4\nRp5\n"
    b"(I1\n(I6\nI4\ntp6\ncnumpy\ndtype\np7\n(S'u1'\np8\nI0\nI1\ntp9\nRp10\n(I3\nS'|'\np11\nNNNI-1\nI-1\nI0\ntp12\nbI00\nS"
    + repr(RAW).removeprefix("b").encode()
    + b"\np13\ntp14\nb.",
    2: b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85U\x01b\x87Rq\x03(K\x01"
    b"K\x06K\x04\x86cnumpy\ndtype\nq\x04U\x02u1K\x00K\x01\x87Rq\x05(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U"
    + bytes([len(RAW)])
    + RAW
    + b"tb.",
}  # as Python 2 and NumPy 1 write them


@pytest.mark.parametrize("protocol", PYTHON2)
def test_pickles_of_python_2(protocol):
    assert np.array_equal(pickle.loads(PYTHON2[protocol], encoding="latin1"), VALUES)  # the test's own check
    assert np.array_equal(unpickled_array(PYTHON2[protocol], (6, 4)), VALUES)


class Harmful:
    def __reduce__(self):
        return os.mkdir, ("harm",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    ("value", "fact"),
    [
        (Harmful(), r"names posix\.mkdir, which is not part of an array"),
        ([VALUES, Harmful()], r"names posix\.mkdir"),
        (Fraction(1, 3), r"names fractions\.Fraction"),
        ({"a": VALUES}, "something other than an array"),
        ([VALUES] * 20_000, "more than 10000 opcodes"),
        (VALUES.astype(object), "array of O8, not of numbers"),
        (VALUES.astype("S3"), "array of S3, not of numbers"),
        (VALUES.T, "array of shape 4 x 6, not 6 x 4"),
        (VALUES.ravel(), "array of shape 24, not 6 x 4"),
        (b"text", "damaged, or not the pickle of one array"),
        ([], "damaged, or not the pickle of one array"),
        (np.float64(3.0), r"names numpy\._?core\.multiarray\.scalar"),
    ],
)
def test_anything_else_is_refused(protocol, value, fact, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=fact):
        unpickled_array(pickle.dumps(value, protocol=protocol), (6, 4))
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_truncated(protocol):
    content = pickle.dumps(VALUES, protocol=protocol)
    for length in range(len(content)):
        with pytest.raises(DataError, match="damaged"):
            unpickled_array(content[:length], (6, 4))


@pytest.mark.parametrize("seed", range(5))
def test_random_damage_is_an_error_or_an_array(seed):
    rng = np.random.default_rng(seed)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        content = np.frombuffer(pickle.dumps(VALUES, protocol=protocol), np.uint8).copy()
        content[rng.integers(len(content), size=3)] = rng.integers(256, size=3)
        try:
            assert unpickled_array(content.tobytes(), (6, 4)).shape == (6, 4)
        except DataError:
            continue


def test_huge_memo_numbers_and_lengths_take_no_memory():
    start = b"\x80\x04K\x01r\xff\xff\xff\x7f"  # LONG_BINPUT
    for content in (start + b".", b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7f", b"\x80\x04B\xff\xff\xff\xff."):
        with pytest.raises(DataError, match="damaged"):
            unpickled_array(content, (6, 4))
