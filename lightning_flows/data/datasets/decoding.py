"""Decode the bytes of an image file to a uint8 image: formats, levels, transparency, limits."""

import warnings
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torchvision.transforms.v2 import functional as F

FORMATS = ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Formats that are decoded, regardless of the file name. Pillow's other decoders are disabled: one runs Ghostscript."""

HEIF_BRANDS = (b"heic", b"heix", b"heif", b"hevc", b"mif1", b"msf1", b"avif", b"avis")
"""What the files of phones' cameras begin with, after their length and ``ftyp``; they are not decoded."""

MAX_SIDE = 65_535
"""Largest height or width in pixels, that of JPEG. Pillow limits the area, to 2 · ``Image.MAX_IMAGE_PIXELS``."""

_BITS_PER_SAMPLE, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0  # tags of TIFF


@dataclass(frozen=True)
class Decoded:
    """An image, uint8 ``(C, H, W)``; the (width, height) of its file, and whether it was transparent."""

    image: Tensor
    size: tuple[int, int]
    transparent: bool


def decode(content: bytes, *, size: tuple[int, int], channels: int) -> Decoded:
    """Decode the first frame upright, crop its center, composite onto white, and resize (bicubic, antialiased).

    The crop is the largest one with the aspect ratio of ``size``, (height, width). Levels: 16 bits are scaled by 255 /
    65535, TIFFs of b bits by 255 / (2^b - 1), floating point from [0, 1] by 255. Signed and 32-bit integers, and floats
    outside [0, 1], are refused, because the file does not define their white level.
    Raises: any error from Pillow for a damaged file; ValueError for the above, NaN, or sides above ``MAX_SIDE``.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # Pillow reads images of up to twice its limit
        with Image.open(BytesIO(content), formats=FORMATS) as file:
            if max(file.size) > MAX_SIDE:
                raise ValueError(f"{file.width}x{file.height} pixels, more than {MAX_SIDE} on a side")
            scale = _transparency_scale(file)
            ImageOps.exif_transpose(file, in_place=True)
            tags, is_ppm, whole = getattr(file, "tag_v2", {}), file.format == "PPM", file.size
            image = file.crop(center_crop(whole, size))
    del file  # hundreds of megabytes for a large image
    alpha = _transparent_color(image, scale)
    if image.mode[0] in "IF":
        image = _levels(image, tags, is_ppm)
    image, transparent = _on_white(image, alpha)
    for mode in ("RGB", "L")[: 1 + (channels == 1)]:  # LAB converts to grayscale only through RGB
        image = image if image.mode == mode else image.convert(mode)
    if image.size != size[::-1]:
        image = image.resize(size[::-1], Image.Resampling.BICUBIC)
    return Decoded(F.pil_to_tensor(image), whole, transparent)


def center_crop(whole: tuple[int, int], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return (left, top, right, bottom) of the largest centered crop with the aspect ratio of ``size``.

    Args: whole: (width, height) of the image; size: (height, width).

    >>> center_crop((64, 48), (32, 32)), center_crop((64, 48), (16, 64))
    ((8, 0, 56, 48), (0, 16, 64, 32))
    """
    width = min(whole[0], max(1, round(whole[1] * size[1] / size[0])))
    height = min(whole[1], max(1, round(whole[0] * size[0] / size[1])))
    left, top = (whole[0] - width) // 2, (whole[1] - height) // 2
    return left, top, left + width, top + height


def reason(error: BaseException, content: bytes = b"") -> str:
    """Return a short reason why a file of this content cannot be decoded."""
    if isinstance(error, UnidentifiedImageError):
        is_heif = content[4:8] == b"ftyp" and content[8:12] in HEIF_BRANDS
        return "HEIC or AVIF: convert it to JPEG" if is_heif else "unknown or damaged format"
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _levels(image: Image.Image, tags: dict[int, object], is_ppm: bool) -> Image.Image:
    """Convert more than 8 bits per sample to gray levels 0 to 255."""
    values = np.asarray(image).astype(np.float32)
    if image.mode == "F":
        if not (values.min() >= -1e-6 and values.max() <= 1 + 1e-6):  # False for NaN
            raise ValueError(
                f"floating-point values from {values.min():g} to {values.max():g}, outside 0 (black) to 1 (white)"
            )
        white = 1.0
    elif image.mode.startswith("I;16") or is_ppm:  # Pillow scales every PPM of more than 8 bits to 16
        bits = tags.get(_BITS_PER_SAMPLE, (16,))
        white = 2.0 ** (bits[0] if isinstance(bits, tuple) else 16) - 1
    else:
        raise ValueError("signed or 32-bit integers, whose white level is unknown")
    np.clip(values, 0, white, out=values)
    values *= 255 / white
    levels = np.rint(values, out=values).astype(np.uint8)
    return Image.fromarray(255 - levels if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO else levels)


def _transparency_scale(file: Image.Image) -> int:
    """Return the factor by which Pillow scales the samples of a PNG to 8 bits, but not its transparent color."""
    raw = str(file.tile[0].args) if getattr(file, "tile", None) else ""  # type: ignore[attr-defined]
    if file.mode == "RGB" and ";16" in raw and "transparency" in file.info:
        raise ValueError("a transparent color of 16 bits, of which only 8 can be read")
    return {"L;2": 85, "L;4": 17}.get(raw, 1)


def _transparent_color(image: Image.Image, scale: int) -> Image.Image | None:
    """Return the opacity, in mode L, of an image with one transparent color; None for any other image."""
    color = image.info.get("transparency")
    if color is None or image.mode in ("P", "PA", "LA", "La", "RGBA", "RGBa"):
        return None
    values = np.asarray(image.convert("L") if image.mode == "1" else image)
    opaque = (values != np.asarray(color) * scale).reshape(*values.shape[:2], -1).any(2)
    return Image.fromarray(opaque.astype(np.uint8) * 255)


def _on_white(image: Image.Image, alpha: Image.Image | None) -> tuple[Image.Image, bool]:
    """Return the image composited onto white, and whether it was transparent."""
    if alpha is None and not image.has_transparency_data:
        return image, False
    if alpha is None:
        image = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
    else:
        image = image.convert("L") if image.mode == "1" else image.copy()
        image.info.pop("transparency", None)
        image = image.convert("RGB")
        image.putalpha(alpha)
    if image.getchannel("A").getextrema() == (255, 255):
        return image.convert("RGB"), False
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=image)
    return white, True
