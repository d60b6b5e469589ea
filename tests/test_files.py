from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lightning_flows.errors import OutputError
from lightning_flows.files import check_new_file, check_writable, replaced


def test_folders_are_made_and_left_empty(tmp_path) -> None:
    check_new_file(tmp_path / "a/b/c.csv")
    assert not list((tmp_path / "a/b").iterdir())


def test_existing_file(tmp_path) -> None:
    (tmp_path / "c.csv").write_text("precious")
    with pytest.raises(OutputError, match=r"c\.csv, which exists and is kept"):
        check_new_file(tmp_path / "c.csv")


def test_file_in_the_way(tmp_path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="expected a folder to write to"):
        check_writable(tmp_path / "file/folder")


def test_a_file_is_replaced_when_it_is_whole_and_not_before(tmp_path: Path) -> None:
    path = tmp_path / "new/file"
    with replaced(path) as file:
        file.write(b"one")
    with replaced(path) as file:
        file.write(b"two, much longer")
        file.flush()
        assert path.read_bytes() == b"one"
    assert path.read_bytes() == b"two, much longer"
    with pytest.raises(ZeroDivisionError), replaced(path) as file:
        file.write(bytes(1 // 0))
    with pytest.raises(OutputError, match=r"could not be \(No space\) and is as it was"), replaced(path):
        raise OSError(28, "No space")
    assert path.read_bytes() == b"two, much longer"
    assert [found.name for found in path.parent.iterdir()] == ["file"]


def test_many_processes_may_try_a_folder_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(check_writable, [tmp_path] * 200))
    assert not list(tmp_path.iterdir())
