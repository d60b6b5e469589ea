import pytest

from lightning_flows.errors import OutputError
from lightning_flows.files import check_new_file, check_writable


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
