"""Folders and archives: what is listed, skipped and refused."""

import errno
import io
import os
import socket
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from lightning_flows.data.datasets.archives import TarSource, ZipSource
from lightning_flows.data.datasets.image_files import open_source
from lightning_flows.data.datasets.sources import FolderSource
from lightning_flows.errors import DataError


def add(tar: tarfile.TarFile, name: str, content: bytes = b"", **fields) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for key, value in fields.items():
        setattr(member, key, value)
    tar.addfile(member, io.BytesIO(content))


def test_a_folder_is_sorted_and_hidden_files_are_skipped(tmp_path):
    for name in ("b/2.PNG", "b/10.jpg", "a.webp", "notes.txt", ".hidden/1.png", "b/._2.png", "__MACOSX/2.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    source = open_source(tmp_path)
    assert isinstance(source, FolderSource)
    assert source.names == ["a.webp", "b/10.jpg", "b/2.PNG"]
    assert len(source.others) == 4
    assert list(source.read(["b/2.PNG", "a.webp"], {})) == [("b/2.PNG", b"b/2.PNG"), ("a.webp", b"a.webp")]


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
    assert dict(source.read(source.names, {})) == {"a/1.png": b"one", "b/2.png": b"new"}
    assert dict(source.read(["a/1.png"], {})) == {"a/1.png": b"one"}
    assert source.others == []
    assert os.listdir(tmp_path) == ["x.tar"]


def test_tar_members_with_unsafe_paths_are_skipped(tmp_path):
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
    assert len(source.others) == 7
    assert source.links == ["link.png", "hardlink.png"]


def test_zip_is_listed_and_read_without_extraction(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile("images", "w") as archive:  # recognized by its content, not by a suffix
        archive.writestr("b/2.png", b"two")
        archive.writestr("windows\\1.png", b"one")
        archive.writestr("notes.txt", b"text")
        archive.mkdir("folder.png")
    source = open_source("images")
    assert isinstance(source, ZipSource)
    assert source.names == ["b/2.png", "windows/1.png"]
    assert dict(source.read(source.names, {})) == {"b/2.png": b"two", "windows/1.png": b"one"}
    assert source.others == ["notes.txt"]
    assert os.listdir(tmp_path) == ["images"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_zip_members_with_unsafe_paths_are_skipped(tmp_path):
    link = zipfile.ZipInfo("link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("good.png", b"old")
        archive.writestr("good.png", b"good")
        for name in ("../outside.png", "a/../../outside.png", "..\\outside.png", "/absolute.png", "._good.png"):
            archive.writestr(name, b"bad")
        archive.writestr(link, "/etc/passwd")
    source = open_source(tmp_path / "x.zip")
    assert dict(source.read(source.names, {})) == {"good.png": b"good"}
    assert len(source.others) == 6
    assert source.links == ["link.png"]


def test_a_damaged_or_encrypted_member_of_a_zip_is_named(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("1.png", "2.png", "3.png"):
            archive.writestr(name, name.encode() * 10)
    content = bytearray(path.read_bytes().replace(b"2.png2.png", b"2.png2.jpg", 1))
    content[content.index(b"PK\x01\x02") + 8] |= 1  # the encryption flag of the first member
    path.write_bytes(content)
    broken: dict[str, str] = {}
    source = open_source(path)
    assert [name for name, _ in source.read(source.names, broken)] == ["3.png"]
    assert "is encrypted" in broken["1.png"]
    assert "Bad CRC-32" in broken["2.png"]


@pytest.mark.parametrize("damage", [lambda content: content[:-20], lambda content: content[:4] + bytes(100)])
def test_damaged_zip(tmp_path, damage):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("1.png", b"1")
    (tmp_path / "x.zip").write_bytes(damage((tmp_path / "x.zip").read_bytes()))
    with pytest.raises(DataError, match=r"x\.zip cannot be read as a zip archive \(File is not a zip file\)"):
        open_source(tmp_path / "x.zip")


def test_missing_root(tmp_path):
    with pytest.raises(DataError, match=r"nowhere does not exist: expected a folder, a \.tar or a \.zip of images"):
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
        with pytest.raises(DataError, match=f"{path} is neither a folder nor a regular file: expected a folder, a"):
            open_source(path)


@pytest.mark.parametrize("root", ["\0", "a" * 5000])
def test_a_root_that_cannot_be_a_path(root):
    with pytest.raises(DataError, match=r"cannot be opened .*: expected a folder, .*--data\.root=FOLDER"):
        open_source(root)


def test_empty_folder_and_folder_without_images(tmp_path):
    with pytest.raises(DataError, match=r"contains no images \(it is empty\): expected files ending in \.bmp"):
        open_source(tmp_path)
    (tmp_path / "table.csv").write_text("")
    with pytest.raises(DataError, match=r"contains no images \(\.csv: 1\): expected .* \.webp$"):
        open_source(tmp_path)


def test_tar_without_images(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        add(tar, "notes.txt", b"text")
    with pytest.raises(DataError, match=r"x\.tar contains no images \(\.txt: 1\)"):
        open_source(tmp_path / "x.tar")


@pytest.mark.parametrize("content", [b"", b"this is text, not an archive" * 100, b"\x1f\x8b\x08\x00broken gzip"])
def test_a_file_that_is_not_a_tar(tmp_path, content):
    (tmp_path / "x.tar").write_bytes(content)
    with pytest.raises(
        DataError, match=r"x\.tar cannot be read as a tar archive .*: expected a folder, a \.tar or a \.zip of images"
    ):
        open_source(tmp_path / "x.tar")


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_truncated_tar(tmp_path, mode):
    with tarfile.open(tmp_path / "x.tar", mode) as tar:
        add(tar, "1.png", os.urandom(40_000))
    content = (tmp_path / "x.tar").read_bytes()
    (tmp_path / "x.tar").write_bytes(content[:20_000])
    with pytest.raises(DataError, match=r"x\.tar cannot be read as a tar archive"):
        list(open_source(tmp_path / "x.tar").read(["1.png"], {}))


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_damaged_compression(tmp_path, mode):
    with tarfile.open(tmp_path / "x.tar", mode) as tar:
        add(tar, "1.png", os.urandom(20_000).hex().encode())
    content = bytearray((tmp_path / "x.tar").read_bytes())
    content[15_000:15_100] = bytes(100)
    (tmp_path / "x.tar").write_bytes(content)
    with pytest.raises(DataError, match=r"x\.tar cannot be read as a tar archive"):
        list(open_source(tmp_path / "x.tar").read(["1.png"], {}))


def test_unreadable_files(tmp_path):
    (tmp_path / "dangling.png").symlink_to(tmp_path / "nothing")
    os.mkfifo(tmp_path / "pipe.png")
    source = open_source(tmp_path)
    broken: dict[str, str] = {}
    assert list(source.read(source.names, broken)) == []
    assert broken == dict.fromkeys(source.names, "is not a regular file, or is a dangling link")


def test_missing_permissions(tmp_path, monkeypatch):  # simulated, as the superuser may read everything
    def refuse(path, *args):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    (tmp_path / "1.png").write_bytes(b"1")
    source = open_source(tmp_path)
    monkeypatch.setattr(Path, "read_bytes", refuse)
    broken: dict[str, str] = {}
    assert list(source.read(["1.png"], broken)) == []
    assert broken == {"1.png": "cannot be read (Permission denied)"}
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"cannot be listed \(Permission denied\): change its permissions or root"):
        open_source(tmp_path)
