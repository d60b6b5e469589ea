import base64
import io
import random
import zlib
from contextlib import suppress
from pathlib import Path

import pytest
from PIL import Image

from lightning_flows.errors import DataError
from lightning_flows.reporting.report.page import inline


def test_an_image_is_reduced_but_complete(tmp_path) -> None:
    path = tmp_path / "a.png"
    Image.effect_noise((1280, 320), 80).save(path)
    image = inline(path, tmp_path)
    assert (image.width, image.height) == (640, 160)
    kind, _, data = image.uri.partition(",")
    assert kind == "data:image/webp;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (640, 160)
    assert len(image.uri) < path.stat().st_size / 3


def test_an_image_that_is_not_reduced_keeps_every_pixel(tmp_path) -> None:
    """Lossy WebP has one color per 2x2 pixels."""
    path, chance = tmp_path / "a.png", random.Random(0)
    original = Image.frombytes("RGB", (40, 24), chance.randbytes(40 * 24 * 3))
    original.save(path)
    decoded = Image.open(io.BytesIO(base64.b64decode(inline(path, tmp_path).uri.partition(",")[2])))
    assert decoded.convert("RGB").tobytes() == original.tobytes()


def test_a_file_that_is_not_an_image(tmp_path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"a\.png cannot be read as PNG"):
        inline(path, tmp_path)


def chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def png(width: int, height: int, *between: bytes, data: bytes = b"") -> bytes:
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    parts = [chunk(b"IHDR", header), *between, chunk(b"IDAT", zlib.compress(data)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


BOMB = zlib.compress(bytes(100_000_000))


@pytest.mark.parametrize(
    "content",
    [
        png(20_000, 20_000), png(80_000_000, 1), png(1, 80_000_000), png(2**31 - 1, 2**31 - 1), png(0, 5),
        png(4, 4, chunk(b"zTXt", b"a\0\0" + BOMB)), png(4, 4, chunk(b"iCCP", b"a\0\0" + BOMB)),
        png(4, 4, chunk(b"iTXt", b"a\0\1\0\0\0" + BOMB)), png(4, 4, chunk(b"IHDR", b"\0")), png(4, 4, data=b"\7"),
        png(4, 4, chunk(b"PLTE", b"1")), png(4, 4, chunk(b"tRNS", b"")), png(4, 4, chunk(b"acTL", b"\0")),
        b"\x89PNG\r\n\x1a\n", b"",
    ],
)  # fmt: skip
def test_crafted_images_do_not_exhaust_the_decoder(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with suppress(DataError):
        image = inline(path, tmp_path)
        assert max(image.width, image.height) <= 640


def test_other_formats_are_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostScript would be passed to Ghostscript."""
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path}/called\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)
    path = tmp_path / "a.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n")
    with pytest.raises(DataError, match="cannot be read as PNG"):
        inline(path, tmp_path)
    Image.new("RGB", (4, 4)).save(path, "BMP")
    with pytest.raises(DataError, match="cannot be read as PNG"):
        inline(path, tmp_path)
    assert not (tmp_path / "called").exists()


def test_damaged_images_are_refused_or_shown(tmp_path: Path) -> None:
    chance, path = random.Random(0), tmp_path / "a.png"
    for mode in ("RGB", "RGBA", "P", "L", "1"):
        Image.effect_noise((16, 16), 80).convert(mode).save(path)
        whole = path.read_bytes()
        for _ in range(40):
            data = bytearray(whole)
            data[chance.randrange(len(data))] = chance.randrange(256)
            path.write_bytes(data[: chance.choice([len(data), chance.randrange(len(data))])])
            with suppress(DataError):
                assert inline(path, tmp_path).width <= 640


def test_an_image_outside_the_run_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "run/samples").mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(tmp_path / "private.png")
    (tmp_path / "run/samples/a.png").symlink_to(tmp_path / "private.png")
    with pytest.raises(DataError, match="a link out of its folder"):
        inline(tmp_path / "run/samples/a.png", tmp_path / "run")
    (tmp_path / "run/linked").symlink_to(tmp_path)
    with pytest.raises(DataError, match="a link out of its folder"):
        inline(tmp_path / "run/linked/private.png", tmp_path / "run")
