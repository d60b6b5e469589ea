"""Archives that claim or expand to more than their size raise one error immediately and use little memory."""

import bz2
import gzip
import io
import lzma
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from lightning_flows.data.datasets import archives, sources
from lightning_flows.data.datasets.archives import TarSource, ZipSource
from lightning_flows.data.datasets.image_files import open_source
from lightning_flows.errors import DataError


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    return member.tobuf(tarfile.GNU_FORMAT)


def zipped(path: Path, start: bytes, num_zeros: int) -> Path:
    """A gzip file of ``start`` and many zeros, compressed a thousandfold."""
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(start)
        for _ in range(num_zeros >> 20):
            file.write(bytes(1 << 20))
    return path


@pytest.fixture
def narrow(monkeypatch):
    """Small limits, so that small files exceed them."""
    monkeypatch.setattr(archives, "FREE_EXPANSION", 2**21)


@pytest.mark.parametrize("name", ["1.png", "data.bin"])
def test_a_compressed_archive_has_an_expansion_limit(tmp_path, narrow, name):
    path = zipped(tmp_path / "x.tar.gz", header(name, 2**33), 2**24)
    with pytest.raises(
        DataError, match=r"x\.tar\.gz cannot be read as a tar archive \(it expands to more than [0-9] MiB"
    ):
        open_source(path)


def test_the_expansion_limit_applies_beyond_the_end(tmp_path, narrow):
    path = zipped(tmp_path / "x.tar.gz", header("1.png", 0) + bytes(1024), 2**24)
    with pytest.raises(DataError, match="it expands to more than"):
        open_source(path)


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_a_header_of_gigabytes_is_not_read(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(archives, "MAX_FILE_BYTES", 2**22)
    (tmp_path / "x.tar").write_bytes(header("1.png", 2**33, kind))
    os.truncate(tmp_path / "x.tar", 2**34)  # a sparse file
    with pytest.raises(DataError, match="a header claims more than 4 MiB"):
        open_source(tmp_path / "x.tar")


@pytest.mark.parametrize("num", [tarfile.BLOCKSIZE, 2**20])
def test_reads_in_pieces_count_together_except_blocks(tmp_path, num, monkeypatch):
    monkeypatch.setattr(archives, "MAX_FILE_BYTES", 2**22)
    with (tmp_path / "zeros").open("w+b") as file:
        file.truncate(2**24)
        bounded = archives._Bounded(file, None)
        for _ in range(2**22 // num):
            bounded.read(num)
        if num == tarfile.BLOCKSIZE:
            bounded.read(num)
        else:
            with pytest.raises(tarfile.ReadError, match="more than 4 MiB"):
                bounded.read(num)
            bounded.seek(0)
        bounded.read(num)


def test_a_chain_of_headers_is_one_error(tmp_path):
    (tmp_path / "x.tar").write_bytes((header("a", 512, tarfile.GNUTYPE_LONGNAME) + b"b" * 512) * 5000)
    with pytest.raises(DataError, match="cannot be read as a tar archive"):
        open_source(tmp_path / "x.tar")


def test_a_sparse_member_is_refused_by_its_size(tmp_path):
    content = b"1 0\n"
    member = tarfile.TarInfo("1.png")
    member.size = 512
    sparse = {"major": "1", "minor": "0", "name": "1.png", "realsize": str(40 << 30)}
    member.pax_headers = {f"GNU.sparse.{key}": value for key, value in sparse.items()}
    with tarfile.open(tmp_path / "x.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(member, io.BytesIO(b"1\n0\n0\n".ljust(512, b"\0") + content))
    source = open_source(tmp_path / "x.tar")
    broken: dict[str, str] = {}
    assert list(source.read(["1.png"], broken)) == []
    assert broken == {"1.png": "has 42,949,672,960 bytes, more than the limit of 536,870,912"}


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress, lambda content: content])
@pytest.mark.parametrize("first", ["a.png", "BZh9.png"])
def test_compression_is_recognized_by_the_content(tmp_path, compress, first):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in (first, "b.png"):
            member = tarfile.TarInfo(name)
            member.size = 3
            tar.addfile(member, io.BytesIO(b"abc"))
    (tmp_path / "images").write_bytes(compress(buffer.getvalue()))
    source = open_source(tmp_path / "images")
    assert isinstance(source, TarSource)
    assert dict(source.read(source.names, {})) == {first: b"abc", "b.png": b"abc"}


def zipped_images(path: Path, **contents: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(f"{name}.png", content)
    return path


def test_a_zip_has_an_expansion_limit(tmp_path, narrow):
    path = zipped_images(tmp_path / "x.zip", a=bytes(2**20), b=bytes(2**20 + 1))
    with pytest.raises(DataError, match=r"x\.zip cannot be read as a zip archive \(it expands to more than 2 MiB"):
        open_source(path)
    assert open_source(zipped_images(tmp_path / "x.zip", a=bytes(2**20), b=bytes(2**20))).names == ["a.png", "b.png"]


def test_a_zip_is_only_read_up_to_its_declared_sizes(tmp_path):
    path = zipped_images(tmp_path / "x.zip", good=b"good", liar=bytes(2**20))
    content = path.read_bytes()
    path.write_bytes(content.replace((2**20).to_bytes(4, "little"), (100).to_bytes(4, "little")))
    broken: dict[str, str] = {}
    source = open_source(path)
    assert isinstance(source, ZipSource)
    assert list(source.read(source.names, broken)) == [("good.png", b"good")]
    assert broken == {"liar.png": "cannot be read (Bad CRC-32 for file 'liar.png')"}


def test_a_large_member_of_a_zip_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "MAX_FILE_BYTES", 3)
    broken: dict[str, str] = {}
    source = open_source(zipped_images(tmp_path / "x.zip", small=b"abc", large=b"abcd"))
    assert list(source.read(source.names, broken)) == [("small.png", b"abc")]
    assert broken == {"large.png": "has 4 bytes, more than the limit of 3"}
