"""Folders and tar archives: what is listed, what is left out, what is refused."""

import errno
import io
import os
import socket
import tarfile
from pathlib import Path

import pytest

from lightning_flows.data.datasets.image_sources import FolderSource, TarSource, open_source
from lightning_flows.errors import DataError


def add(tar: tarfile.TarFile, name: str, content: bytes = b"", **fields) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for key, value in fields.items():
        setattr(member, key, value)
    tar.addfile(member, io.BytesIO(content))


def test_folder_is_sorted_and_leaves_out_what_is_hidden(tmp_path):
    for name in ("b/2.PNG", "b/10.jpg", "a.webp", "notes.txt", ".hidden/1.png", "b/._2.png", "__MACOSX/2.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    source = open_source(tmp_path)
    assert isinstance(source, FolderSource)
    assert source.names == ["a.webp", "b/10.jpg", "b/2.PNG"]
    assert source.num_others == 4
    assert list(source.read(["b/2.PNG", "a.webp"])) == [("b/2.PNG", b"b/2.PNG"), ("a.webp", b"a.webp")]


def test_folder_follows_links_once(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "1.png").write_bytes(b"1")
    root = tmp_path / "root"
    root.mkdir()
    (root / "cat").symlink_to(tmp_path / "elsewhere")
    (root / "loop").symlink_to(root)
    assert open_source(root).names == ["cat/1.png"]


def test_real_folders_come_before_links_to_them(tmp_path):
    (tmp_path / "z").mkdir()
    (tmp_path / "z" / "1.png").write_bytes(b"1")
    (tmp_path / "a").symlink_to("z")
    (tmp_path / "b").symlink_to("z")
    (tmp_path / "above").symlink_to(tmp_path.parent)
    source = open_source(tmp_path)
    assert source.names == ["z/1.png"]
    assert source.links == ["a", "above", "b"]


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_tar_is_listed_and_read_without_extraction(tmp_path, monkeypatch, mode):
    monkeypatch.chdir(tmp_path)
    with tarfile.open("x.tar", mode) as tar:
        add(tar, "./b/2.png", b"old")
        add(tar, "./a/1.png", b"one")
        add(tar, "./b/2.png", b"new")  # as after `tar --append`
        add(tar, "folder.png", type=tarfile.DIRTYPE)
    source = open_source("x.tar")
    assert isinstance(source, TarSource)
    assert source.names == ["a/1.png", "b/2.png"]
    assert dict(source.read(source.names)) == {"a/1.png": b"one", "b/2.png": b"new"}
    assert dict(source.read(["a/1.png"])) == {"a/1.png": b"one"}
    assert source.num_others == 0
    assert os.listdir(tmp_path) == ["x.tar"]


def test_tar_leaves_out_tricks(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        add(tar, "good.png", b"good")
        add(tar, "../outside.png", b"bad")
        add(tar, "a/../../outside.png", b"bad")
        add(tar, "/absolute.png", b"bad")
        add(tar, "link.png", type=tarfile.SYMTYPE, linkname="/etc/passwd")
        add(tar, "hardlink.png", type=tarfile.LNKTYPE, linkname="/etc/passwd")
        add(tar, "pipe.png", type=tarfile.FIFOTYPE)
        add(tar, "device.png", type=tarfile.CHRTYPE)
    source = open_source(tmp_path / "x.tar")
    assert source.names == ["good.png"]
    assert source.num_others == 7


def test_missing_root(tmp_path):
    with pytest.raises(DataError, match=r"nowhere does not exist: expected a folder or a \.tar of images"):
        open_source(tmp_path / "nowhere")


@pytest.mark.parametrize("kind", ["fifo", "socket", "device"])
def test_a_root_that_is_neither_folder_nor_file(tmp_path, kind, monkeypatch):
    path = Path("/dev/zero") if kind == "device" else Path(kind)
    monkeypatch.chdir(tmp_path)
    if kind == "fifo":
        os.mkfifo(path)
    with socket.socket(socket.AF_UNIX) as server:
        if kind == "socket":
            server.bind(str(path))
        with pytest.raises(DataError, match=f"{path} is neither a folder nor a regular file: expected a folder or a"):
            open_source(path)


@pytest.mark.parametrize("root", ["\0", "a" * 5000])
def test_a_root_that_cannot_be_a_path(root):
    with pytest.raises(DataError, match=r"cannot be opened .*: correct root"):
        open_source(root)


def test_empty_folder_and_folder_without_images(tmp_path):
    with pytest.raises(DataError, match=r"holds no images \(it is empty\): expected files ending in \.bmp"):
        open_source(tmp_path)
    (tmp_path / "table.csv").write_text("")
    with pytest.raises(DataError, match=r"holds no images \(found 1 other files\)"):
        open_source(tmp_path)


def test_tar_without_images(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        add(tar, "notes.txt", b"text")
    with pytest.raises(DataError, match=r"x\.tar holds no images \(found 1 other files\)"):
        open_source(tmp_path / "x.tar")


@pytest.mark.parametrize("content", [b"", b"this is text, not an archive" * 100, b"\x1f\x8b\x08\x00broken gzip"])
def test_no_tar(tmp_path, content):
    (tmp_path / "x.tar").write_bytes(content)
    with pytest.raises(DataError, match=r"x\.tar cannot be read as a tar archive .*copy or pack it again"):
        open_source(tmp_path / "x.tar")


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_truncated_tar(tmp_path, mode):
    with tarfile.open(tmp_path / "x.tar", mode) as tar:
        add(tar, "1.png", os.urandom(40_000))
    content = (tmp_path / "x.tar").read_bytes()
    (tmp_path / "x.tar").write_bytes(content[:20_000])
    with pytest.raises(DataError, match=r"x\.tar cannot be read as a tar archive"):
        list(open_source(tmp_path / "x.tar").read(["1.png"]))


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_damaged_compression(tmp_path, mode):
    with tarfile.open(tmp_path / "x.tar", mode) as tar:
        add(tar, "1.png", os.urandom(20_000).hex().encode())
    content = bytearray((tmp_path / "x.tar").read_bytes())
    content[15_000:15_100] = bytes(100)
    (tmp_path / "x.tar").write_bytes(content)
    with pytest.raises(DataError, match=r"x\.tar cannot be read as a tar archive"):
        list(open_source(tmp_path / "x.tar").read(["1.png"]))


def test_unreadable_files(tmp_path):
    (tmp_path / "dangling.png").symlink_to(tmp_path / "nothing")
    os.mkfifo(tmp_path / "pipe.png")
    source = open_source(tmp_path)
    for name in source.names:
        with pytest.raises(DataError, match=f"{name} is no regular file or leads nowhere"):
            list(source.read([name]))


def test_missing_permissions(tmp_path, monkeypatch):  # simulated, as the superuser may read everything
    def refuse(path, *args):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    (tmp_path / "1.png").write_bytes(b"1")
    source = open_source(tmp_path)
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(DataError, match=r"1\.png cannot be read \(Permission denied\): change its permissions"):
        list(source.read(["1.png"]))
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"cannot be listed \(Permission denied\): change its permissions or root"):
        open_source(tmp_path)
