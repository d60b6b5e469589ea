"""One image file to pixels: every mode and level, transparency on white, formats, limits."""

import io
import os
import stat
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_flows.data.datasets.decoding import MAX_SIDE, decode, reason

GRAY = 200


def encoded(image: Image.Image, format: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def png(values: np.ndarray, bits: int, color_type: int, *chunks: tuple[bytes, bytes], size=None) -> bytes:
    """A PNG written by hand: any number of bits, any chunk before the pixels."""
    height, width = values.shape[:2]
    shifts = np.arange(bits - 1, -1, -1)
    rows = [
        b"\0" + np.packbits(((row.reshape(-1, 1) >> shifts) & 1).astype(np.uint8).reshape(-1)).tobytes()
        for row in values
    ]
    header = struct.pack(">IIBBBBB", *(size or (width, height)), bits, color_type, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(b"".join(rows))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )


def tiff(values: np.ndarray, *, bits: int, sample_format: int = 1, photometric: int = 1) -> bytes:
    """A TIFF of one gray strip, written by hand."""
    height, width = values.shape
    content = values.tobytes()
    if bits == 12:
        pairs = values.reshape(-1, 2).astype(np.uint32)
        whole = (pairs[:, 0] << 12) | pairs[:, 1]
        content = np.stack([whole >> 16, (whole >> 8) & 255, whole & 255], 1).astype(np.uint8).tobytes()
    fields = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 273: 8, 277: 1, 278: height}
    fields |= {279: len(content), 339: sample_format}
    ifd = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(fields.items()))
    return struct.pack("<2sHI", b"II", 42, 8 + len(content)) + content + struct.pack("<H", len(fields)) + ifd + bytes(4)


def values(content: bytes, *, size: int = 8, channels: int = 1) -> list[int]:
    return decode(content, size=(size, size), channels=channels).image.unique().tolist()


RAMP16 = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1040
LEVELS16 = sorted({round(value / 257) for value in RAMP16.reshape(-1).tolist()})


@pytest.mark.parametrize(
    ("content", "levels"),
    [
        (encoded(Image.fromarray(RAMP16), "PNG"), LEVELS16),
        (encoded(Image.fromarray(RAMP16), "TIFF"), LEVELS16),
        (encoded(Image.fromarray(RAMP16), "PPM"), LEVELS16),
        (tiff(RAMP16, bits=16), LEVELS16),
        (tiff(RAMP16, bits=16, photometric=0), sorted(255 - level for level in LEVELS16)),
        (tiff(np.array([[0, 4095]] * 2, np.uint16), bits=12), [0, 255]),
        (tiff(np.eye(8, dtype=np.float32) * 0.2, bits=32, sample_format=3), [0, 51]),
        (tiff(np.eye(8, dtype=np.float32) * 0.2, bits=32, sample_format=3, photometric=0), [204, 255]),
    ],
)
def test_more_than_eight_bits_are_scaled(content, levels):
    assert values(content, size=min(Image.open(io.BytesIO(content)).size)) == levels


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (
            np.full((8, 8), 255.0, np.float32),
            r"floating-point values from 255 to 255, outside 0 \(black\) to 1 \(white\)",
        ),
        (np.full((8, 8), -0.1, np.float32), r"from -0\.1 to -0\.1"),
        (np.full((8, 8), np.nan, np.float32), "from nan to nan"),
        (np.full((8, 8), np.inf, np.float32), "from inf to inf"),
        (np.full((8, 8), 1000, np.int32), "whose white level is unknown"),
    ],
)
def test_levels_without_a_known_white_are_refused(pixels, message):
    with pytest.raises(ValueError, match=message):
        values(encoded(Image.fromarray(pixels), "TIFF"))


@pytest.mark.parametrize(("bits", "sample_format"), [(16, 2), (32, 1), (32, 2)])
def test_signed_and_long_integers_are_refused(bits, sample_format):
    pixels = np.full((8, 8), 100, {16: np.int16, 32: np.int32}[bits])
    with pytest.raises(ValueError, match="signed or 32-bit integers"):
        values(tiff(pixels, bits=bits, sample_format=sample_format))


MODES = ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "I;16", "F"]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", MODES)
def test_every_mode_of_a_tiff(mode, channels):
    image = Image.new("RGB", (8, 8), (GRAY, GRAY, GRAY)).convert({"I;16": "L", "F": "L"}.get(mode, mode))
    if mode == "I;16":
        image = Image.fromarray(np.full((8, 8), GRAY * 257, np.uint16))
    if mode == "F":
        image = Image.fromarray(np.full((8, 8), GRAY / 255, np.float32))
    decoded = decode(encoded(image, "TIFF"), size=(8, 8), channels=channels)
    assert decoded.image.shape == (channels, 8, 8)
    assert not decoded.transparent
    if mode not in ("1", "P", "PA"):  # few colors only
        assert (decoded.image.float() - GRAY).abs().max() <= 1


def transparent_pair(mode: str) -> tuple[Image.Image, Image.Image]:
    """Two images that look the same but differ in invisible pixels."""
    y, x = np.mgrid[0:16, 0:16]
    disc = ((x - 8) ** 2 + (y - 8) ** 2) < 30
    clean, dirty = (
        np.where(disc, GRAY, hidden) for hidden in (0, np.random.default_rng(0).integers(256, size=(16, 16)))
    )
    pair = []
    for pixels in (clean, dirty):
        image = Image.fromarray(pixels.astype(np.uint8)).convert("RGB")
        image.putalpha(Image.fromarray(disc.astype(np.uint8) * 255))
        pair.append(image.convert(mode) if mode != "RGBA" else image)
    return pair[0], pair[1]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("mode", "format"), [("RGBA", "PNG"), ("LA", "PNG"), ("RGBA", "TIFF"), ("RGBA", "WEBP")])
def test_images_that_look_equal_are_equal(mode, format, channels):
    options = {"lossless": True, "exact": True} if format == "WEBP" else {}
    clean, dirty = (
        decode(encoded(image, format, **options), size=(16, 16), channels=channels) for image in transparent_pair(mode)
    )
    assert torch.equal(clean.image, dirty.image)
    assert clean.transparent
    assert clean.image[0, 0, 0] == 255  # white
    assert clean.image[0, 8, 8] == GRAY


def test_half_transparent_pixels_are_mixed_with_white_before_resizing():
    image = Image.new("RGBA", (32, 32), (0, 0, 0, 128))
    assert values(encoded(image, "PNG"), channels=3) == [127]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("transparency", [0, bytes([0, 255]), bytes([0, 128])])
def test_transparent_palettes(transparency):
    image = Image.new("P", (8, 8), 1)
    image.putpalette([10, 20, 30, GRAY, GRAY, GRAY])
    image.putpixel((0, 0), 0)
    decoded = decode(encoded(image, "PNG", transparency=transparency), size=(8, 8), channels=3)
    assert decoded.transparent
    assert decoded.image[:, 0, 0].tolist() == [255, 255, 255]
    assert decoded.image[:, 4, 4].tolist() == [GRAY if transparency != bytes([0, 128]) else 227] * 3


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_one_transparent_gray_of_any_depth(bits):
    top = 2**bits - 1
    pixels = np.zeros((8, 8), int)
    pixels[0, 0] = top
    content = png(pixels, bits, 0, (b"tRNS", struct.pack(">H", 0)))
    assert values(content) == [255]
    assert values(png(pixels, bits, 0, (b"tRNS", struct.pack(">H", top)))) == [0, 255]
    assert values(png(top - pixels, bits, 0, (b"tRNS", struct.pack(">H", 0)))) == [255]


def test_one_transparent_color():
    pixels = np.full((8, 8, 3), GRAY)
    pixels[0, 0] = (1, 2, 3)
    color = (b"tRNS", struct.pack(">HHH", 1, 2, 3))
    decoded = decode(png(pixels, 8, 2, color), size=(8, 8), channels=3)
    assert decoded.transparent
    assert decoded.image[:, 0, 0].tolist() == [255, 255, 255]
    assert decoded.image[:, 1, 1].tolist() == [GRAY] * 3
    with pytest.raises(ValueError, match="a transparent color of 16 bits, of which only 8 can be read"):
        decode(png(pixels * 257, 16, 2, color), size=(8, 8), channels=3)
    assert values(png(pixels * 257, 16, 2), channels=3) == [1, 2, 3, GRAY]


def test_camera_orientation_applies_to_transparency():
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 255))
    image.paste((50, 50, 50, 0), (0, 0, 8, 4))  # transparent above
    exif = Image.Exif()
    exif[0x0112] = 3  # stored upside down
    image = decode(encoded(image, "PNG", exif=exif), size=(8, 8), channels=1).image
    assert (image[0, 0, 0], image[0, 7, 7]) == (0, 255)


def test_no_program_is_started_for_postscript(tmp_path, monkeypatch):
    program = tmp_path / "gs"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None, raising=False)
    content = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"
    assert Image.open(io.BytesIO(content)).format == "EPS"  # Pillow itself would decode it
    with pytest.raises(Image.UnidentifiedImageError) as caught:
        decode(content, size=(8, 8), channels=3)
    assert reason(caught.value) == "unknown or damaged format"
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize("format", ["GIF", "ICO", "TGA", "PCX", "SGI"])
def test_other_formats_are_disabled(format):
    with pytest.raises(Image.UnidentifiedImageError):
        decode(encoded(Image.new("RGB", (16, 16)), format), size=(8, 8), channels=3)


@pytest.mark.parametrize("size", [(80_000_000, 1), (1, 80_000_000), (MAX_SIDE + 1, 2)])
@pytest.mark.parametrize("format", ["PNG", "BMP"])
def test_sides_are_limited_before_anything_is_decoded(size, format, monkeypatch):
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("decoded"))
    content = png(np.zeros((1, 1), int), 8, 0, size=size)
    if format == "BMP":
        content = b"BM" + struct.pack("<IIIIiiHHIIiiII", 60, 0, 54, 40, *size, 1, 24, 0, 0, 0, 0, 0, 0)
    with pytest.raises(ValueError, match="pixels, more than 65535 on a side"):
        decode(content, size=(8, 8), channels=3)


def test_the_longest_strip_is_cropped_before_it_is_resized():
    pixels = np.zeros((1, MAX_SIDE), np.uint8)
    pixels[0, MAX_SIDE // 2] = GRAY
    decoded = decode(encoded(Image.fromarray(pixels), "PNG"), size=(256, 256), channels=1)
    assert decoded.image.unique().tolist() == [GRAY]
    assert decoded.size == (MAX_SIDE, 1)


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
def test_text_that_expands_beyond_the_limit_is_refused(kind):
    bomb = zlib.compress(bytes(80_000_000))
    data = {b"zTXt": b"a\0\0", b"iTXt": b"a\0\1\0\0\0", b"iCCP": b"a\0\0"}[kind] + bomb
    with pytest.raises(ValueError, match="Decompressed data too large"):
        decode(png(np.zeros((8, 8), int), 8, 0, (kind, data)), size=(8, 8), channels=3)


def test_a_reason_is_one_line():
    assert reason(ValueError("first\nsecond")) == "first"
    assert reason(MemoryError()) == "MemoryError"
