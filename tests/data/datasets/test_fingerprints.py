import os
from pathlib import Path

import pytest

from lightning_flows.data.datasets.fingerprints import PART, of_file, of_files
from lightning_flows.data.datasets.image_files import ImageFiles
from tests.data.datasets.test_image_files import pack, save


def test_a_file_by_its_size_start_and_end(tmp_path: Path) -> None:
    path = tmp_path / "a"
    content = bytearray(os.urandom(3 * PART))
    path.write_bytes(content)
    before = of_file(path)
    for place in (0, PART - 1, 2 * PART, 3 * PART - 1):
        changed = bytearray(content)
        changed[place] ^= 1
        path.write_bytes(changed)
        assert of_file(path) != before
    path.write_bytes(content[:-1])
    assert of_file(path) != before
    path.write_bytes(content)
    assert of_file(path) == before


def test_no_fingerprint_without_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert [of_file(path) for path in (tmp_path / "none", tmp_path, tmp_path / "pipe", "a\0b")] == [None] * 4


def test_files_by_name_and_size() -> None:
    assert of_files({"a": 1, "b": 2}) == of_files({"b": 2, "a": 1})
    others = [{"a": 2, "b": 1}, {"a": 1}, {"a": 1, "c": 2}, {"a": 1, "b": 2, "c": 0}, {"a": 12, "b": 0}]
    assert len({of_files(each) for each in [{"a": 1, "b": 2}, *others]}) == 6
    assert of_files({"\udcff.png": 1}).startswith("1 files, ")  # a name that is not UTF-8


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".zip"])
def test_an_archive_has_the_fingerprint_of_its_folder(suffix: str, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    for i in range(3):
        save(folder / f"a/{i}.png", size=(8, 8 + i))
    expected = ImageFiles(folder).fingerprint
    assert ImageFiles(pack(folder, suffix=suffix)).fingerprint == expected
    (folder / "a/0.png").write_bytes(b"")
    assert ImageFiles(folder).fingerprint != expected
    (folder / "a/3.png").symlink_to("nothing")
    assert ImageFiles(folder).fingerprint.startswith("4 files, ")
