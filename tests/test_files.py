import os
import resource
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from lightning_flows import files
from lightning_flows.errors import OutputError
from lightning_flows.files import (
    appended_line,
    check_new_file,
    check_writable,
    created,
    created_together,
    folder_inside,
    replaced,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@contextmanager
def full_disk(size: int = 4096) -> Iterator[None]:
    """Limit files to ``size`` bytes, as if the disk were full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_folders_are_created_and_left_empty(tmp_path) -> None:
    check_writable(tmp_path / "a/b")
    assert not list((tmp_path / "a/b").iterdir())


def test_a_check_of_a_file_creates_no_folder(tmp_path) -> None:
    """The command may still be refused for other reasons."""
    check_new_file(tmp_path / "a/b/c.csv")
    assert names(tmp_path) == []
    (tmp_path / "c.csv").touch()
    check_new_file(tmp_path / "a/c.csv")
    assert names(tmp_path) == ["c.csv"]
    with created(tmp_path / "a/b/c.csv") as file:
        file.write(b"1")
    assert (tmp_path / "a/b/c.csv").read_bytes() == b"1"


def test_existing_file(tmp_path) -> None:
    (tmp_path / "c.csv").write_text("precious")
    with pytest.raises(OutputError, match=r"c\.csv exists: choose"):
        check_new_file(tmp_path / "c.csv")


def test_a_dangling_link_exists(tmp_path) -> None:
    (tmp_path / "c.csv").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match="exists: choose another"):
        check_new_file(tmp_path / "c.csv")
    with pytest.raises(OutputError, match="exists: choose another"), created(tmp_path / "c.csv"):
        pass
    assert names(tmp_path) == ["c.csv"]


@pytest.mark.parametrize("name", ["a" * 300, "a\0b", "a/" + "b" * 300])
def test_invalid_file_names(name: str, tmp_path: Path) -> None:
    for check in (check_new_file, lambda path: check_writable(path / "folder")):
        with pytest.raises(OutputError, match=r"File name too long|null"):
            check(tmp_path / name)
    with pytest.raises(OutputError, match=r"File name too long|null"), replaced(tmp_path / name) as file:
        file.write(b"1")


def test_file_in_the_way(tmp_path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="is not a writable folder"):
        check_writable(tmp_path / "file/folder")
    with pytest.raises(OutputError, match="is not a writable folder"):
        check_new_file(tmp_path / "file/folder/a.csv")


def test_a_folder_inside_is_not_a_link(tmp_path) -> None:
    assert folder_inside(tmp_path, "samples") == folder_inside(tmp_path, "samples") == tmp_path / "samples"
    (tmp_path / "link").symlink_to(tmp_path / "samples")
    with pytest.raises(OutputError, match="link is a link"):
        folder_inside(tmp_path, "link")
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file is not a writable folder"):
        folder_inside(tmp_path, "file")


def test_a_file_is_replaced_once_it_is_complete(tmp_path: Path) -> None:
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
    with pytest.raises(OutputError, match=r"could not be written \(No space\): nothing was changed"), replaced(path):
        raise OSError(28, "No space")
    assert path.read_bytes() == b"two, much longer"
    assert names(path.parent) == ["file"]


def test_errors_of_the_callers_code_pass_through(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="elsewhere"), replaced(tmp_path / "a"):
        (tmp_path / "elsewhere").read_bytes()
    with pytest.raises(ValueError, match=r"^mine$"), created(tmp_path / "a"):
        raise ValueError("mine")
    assert not names(tmp_path)


def test_the_disk_error_is_reported_if_a_library_fails_after_it(tmp_path: Path) -> None:
    def write() -> None:
        with created(tmp_path / "a") as file:
            try:
                file.write(bytes(1_000_000))  # more than a buffer
            finally:
                raise RuntimeError("unexpected position")

    with full_disk(), pytest.raises(OutputError, match=r"a could not be written \(File too large\)"):
        write()
    assert not names(tmp_path)


def test_files_have_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    for write in (replaced, created):
        with write(tmp_path / write.__name__):
            pass
        assert (tmp_path / write.__name__).stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_concurrent_writers_leave_the_content_of_one(tmp_path: Path) -> None:
    path, wrong, done = tmp_path / "file", [], threading.Event()
    with replaced(path) as one, replaced(path) as other:
        one.write(b"1" * 100_000)
        other.write(b"2" * 50_000)
    assert path.read_bytes() == b"1" * 100_000  # it finished last

    def write(digit: bytes) -> None:
        for i in range(40):
            with replaced(path) as file:
                for _ in range(3 + i % 3):
                    file.write(digit * 20_000)

    def read() -> None:
        while not done.is_set():
            content = path.read_bytes()
            if len(set(content)) != 1 or len(content) % 20_000:
                wrong.append(content)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(write, [b"1", b"2", b"3", b"4"]))
    finally:
        done.set()
        reader.join()
    assert not wrong
    assert names(tmp_path) == ["file"]


def test_a_link_is_replaced_and_its_target_kept(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "victim")
    with replaced(tmp_path / "link") as file:
        file.write(b"new")
    assert (tmp_path / "victim").read_text() == "precious"
    assert not (tmp_path / "link").is_symlink()
    assert (tmp_path / "link").read_text() == "new"


KILLED = """
import os, signal, sys
from pathlib import Path
from lightning_flows.files import replaced
with replaced(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_leftovers_of_killed_processes_are_removed_and_of_living_ones_kept(tmp_path: Path) -> None:
    path = tmp_path / "file"
    subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    (left,) = names(tmp_path)
    assert left.startswith(".file.")
    assert left.endswith(".part")
    (tmp_path / ".other.0123.part").touch()
    with replaced(path) as living:
        assert left not in names(tmp_path)
        living.write(b"living")
        with replaced(path) as file:
            file.write(b"other")
        assert path.read_bytes() == b"other"
    assert path.read_bytes() == b"living"
    assert names(tmp_path) == [".other.0123.part", "file"]


def test_a_new_file_is_complete_and_replaces_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a/file"
    with created(path) as file:
        file.write(b"one")
        file.flush()
        assert not path.exists()
    assert path.read_bytes() == b"one"
    with pytest.raises(OutputError, match="exists: choose another"), created(path) as file:
        file.write(b"two")
    with pytest.raises(OutputError, match="exists: choose another"), created(tmp_path / "b"):
        (tmp_path / "b").write_text("appeared meanwhile")
    assert (path.read_bytes(), (tmp_path / "b").read_text()) == (b"one", "appeared meanwhile")
    assert names(tmp_path) == ["a", "b"]


def test_overwrite_replaces_files_but_not_folders(tmp_path: Path) -> None:
    paths = [tmp_path / "a.png", tmp_path / "a.npy"]
    paths[0].write_text("old")
    check_new_file(paths[0], overwrite=True)
    with created_together(paths, overwrite=True) as opened:
        for file in opened:
            file.write(b"new")
    assert [path.read_text() for path in paths] == ["new", "new"]
    with pytest.raises(OutputError, match="is a folder"):
        check_new_file(tmp_path, overwrite=True)


@pytest.mark.parametrize("error", [OSError(28, "No space"), KeyboardInterrupt(), ZeroDivisionError()])
def test_no_incomplete_file_remains(error: BaseException, tmp_path: Path) -> None:
    def write() -> None:
        with created(tmp_path / "a") as file:
            file.write(b"half")
            raise error

    with pytest.raises(OutputError if isinstance(error, OSError) else type(error)):
        write()
    assert not names(tmp_path)


@pytest.mark.parametrize("write", [replaced, created])
def test_a_full_disk(write, tmp_path: Path) -> None:
    with (
        full_disk(),
        pytest.raises(OutputError, match=r"a could not be written \(File too large\)"),
        write(tmp_path / "a") as file,
    ):
        file.write(bytes(10_000))
    assert not names(tmp_path)


def test_files_appear_together_or_not_at_all(tmp_path: Path) -> None:
    paths = [tmp_path / "a.png", tmp_path / "a.npy"]

    def write(size: int = 1, meanwhile: Callable[[], object] = lambda: None) -> None:
        with created_together(paths) as both:
            both[0].write(b"1")
            both[1].write(bytes(size))
            meanwhile()

    with pytest.raises(OutputError, match=r"a\.npy exists"):
        write(meanwhile=paths[1].touch)
    assert names(tmp_path) == ["a.npy"]
    paths[1].unlink()
    with full_disk(), pytest.raises(OutputError, match=r"a\.png and .*a\.npy"):
        write(size=10_000)
    assert not names(tmp_path)
    write()
    assert names(tmp_path) == ["a.npy", "a.png"]


def test_a_file_system_without_hard_links_or_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(files.os, "link", refuse)
    monkeypatch.setattr(files.fcntl, "flock", refuse)
    path = tmp_path / "a"
    (tmp_path / ".a.01234567.part").write_text("perhaps of a living process")
    with created(path) as file:
        file.write(b"one")
    with pytest.raises(OutputError, match="exists: choose another"), created(path):
        pass
    monkeypatch.setattr(files.os, "replace", refuse)
    with pytest.raises(OutputError, match="not permitted"), created(tmp_path / "b"):
        pass
    assert path.read_bytes() == b"one"
    assert names(tmp_path) == [".a.01234567.part", "a"]


def test_concurrent_lines_are_appended_completely(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: appended_line(path, str(i) * 5000), range(8)))
    lines = path.read_text().splitlines()
    assert sorted(lines) == [str(i) * 5000 for i in range(8)]


def test_an_unfinished_line_is_terminated(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_text('{"half": ')
    appended_line(path, "whole")
    assert path.read_text() == '{"half": \nwhole\n'


def test_a_line_on_a_full_disk(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    appended_line(path, "1" * 4000)
    with full_disk(), pytest.raises(OutputError, match=r"cannot be appended to .* and is unchanged: free some space"):
        appended_line(path, "2" * 500)  # of which 95 bytes fit
    assert path.read_text() == "1" * 4000 + "\n"


def test_appending_follows_no_links_and_does_not_block_on_pipes(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious\n")
    (tmp_path / "link").symlink_to(tmp_path / "victim")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe", ".", "nowhere/file", "a\0b"):
        with pytest.raises(OutputError, match=r"cannot be appended to|is not a regular file"):
            appended_line(tmp_path / name, "new")
    assert (tmp_path / "victim").read_text() == "precious\n"
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_many_writers_may_check_a_folder_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(check_writable, [tmp_path] * 200))
    assert not list(tmp_path.iterdir())
