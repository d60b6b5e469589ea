"""Pictures inside of a page."""

import base64
import io
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from lightning_flows.errors import DataError

MAX_SIDE, QUALITY = 640, 70


class Inlined(NamedTuple):
    """A picture as a ``data:`` address, with its file's name and its size in pixels."""

    name: str
    uri: str
    width: int
    height: int


def inline(path: Path) -> Inlined:
    """A picture for a page, in lossy WebP and at most 640 pixels wide or high: tens of kilobytes.

    Raises: DataError if the file is no picture.
    """
    try:
        with Image.open(path) as picture:
            small = picture.convert("RGB")
    except (OSError, Image.DecompressionBombError) as error:
        raise DataError(f"expected a picture; got {path.name}, which cannot be read") from error
    small.thumbnail((MAX_SIDE, MAX_SIDE))
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=QUALITY)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return Inlined(path.stem.replace("_", " "), f"data:image/webp;base64,{data}", *small.size)
