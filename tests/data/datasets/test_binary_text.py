"""Binary images as text: any white space, chunks of any size, and one-line errors."""

import numpy as np
import pytest

from lightning_flows.data.datasets import binary_text
from lightning_flows.data.datasets.binary_text import read_binary_text
from lightning_flows.errors import DataError

VALUES = np.random.default_rng(0).integers(0, 2, (5, 7), dtype=np.uint8)


def text(values: np.ndarray = VALUES, *, between: str = " ", end: str = "\n") -> str:
    return "".join(between.join(map(str, row)) + end for row in values)


@pytest.mark.parametrize("chunk", [1, 3, 10, 2**22])
@pytest.mark.parametrize("options", [{}, {"end": " \r\n"}, {"between": "\t "}, {"end": "\n\n"}])
def test_values(tmp_path, monkeypatch, chunk, options):
    monkeypatch.setattr(binary_text, "CHUNK", chunk)
    for content in (text(**options), text(**options).rstrip()):
        (tmp_path / "a.amat").write_text(content)
        found = read_binary_text(tmp_path / "a.amat", VALUES.shape)
        assert found.dtype == np.uint8
        assert np.array_equal(found, VALUES)


@pytest.mark.parametrize("chunk", [1, 3, 2**22])
@pytest.mark.parametrize(
    ("content", "fact"),
    [
        ("", "has only 0.0 of 5 lines of 7 numbers"),
        (text()[:-14], "has only 4.0 of 5 lines"),
        (text()[:-20], "has only 3.6 of 5 lines"),
        (text() + text(), "has more than 5 lines of 7 numbers"),
        (text().replace("\n", " "), None),  # lines of no matter
        (text(VALUES.T), "has a line that is not of 7 numbers"),
        (text().replace("1", "2", 1), "has characters other than 0, 1 and spaces"),
        (text().replace("1", "0.5", 1), "has characters other than 0, 1 and spaces"),
        (text().replace("1", "10", 1), "has numbers other than 0 and 1"),
        ("0 1 0 1 0 1 0\x00", "has characters other than"),
    ],
)
def test_other_content(tmp_path, monkeypatch, chunk, content, fact):
    monkeypatch.setattr(binary_text, "CHUNK", chunk)
    (tmp_path / "a.amat").write_text(content)
    if fact is None:
        assert np.array_equal(read_binary_text(tmp_path / "a.amat", VALUES.shape), VALUES)
        return
    with pytest.raises(DataError, match=fact):
        read_binary_text(tmp_path / "a.amat", VALUES.shape)
