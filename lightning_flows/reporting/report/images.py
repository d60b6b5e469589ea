"""Images inside of a page."""

import base64
import io
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from lightning_flows.errors import DataError
from lightning_flows.reporting.tables.run_files import MAX_IMAGE, read_bytes

MAX_SIDE, QUALITY = 640, 70
MAX_PIXELS = 2**26
"""Of an image in a run's folder: 67 million."""


class Inlined(NamedTuple):
    """An image as a ``data:`` address, with its file's name and its size in pixels."""

    name: str
    uri: str
    width: int
    height: int


def inline(path: Path, folder: Path | None = None) -> Inlined:
    """An image for a page, as lossy WebP of at most 640 pixels wide or high: tens of kilobytes.

    Only PNG is decoded, regardless of the content: other formats may invoke programs such as Ghostscript.

    Args:
        path: file path.
        folder: the run folder, which links must not leave; by default the file's own.
    Raises: DataError if the file is not a PNG, or too large.
    """
    content = read_bytes(path, folder or path.parent, MAX_IMAGE)
    try:
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DataError(f"expected an image of at most {MAX_PIXELS} pixels; got {path.name}, which has more")
            small = image.convert("RGB")
    except DataError:
        raise
    except Exception as error:  # a crafted file may raise anything in a decoder
        raise DataError(f"expected an image; got {path.name}, which cannot be read as PNG") from error
    small.thumbnail((MAX_SIDE, MAX_SIDE))
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=QUALITY)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return Inlined(path.stem.replace("_", " "), f"data:image/webp;base64,{data}", *small.size)
