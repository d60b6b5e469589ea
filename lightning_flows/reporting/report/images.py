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


def inline(path: Path, folder: Path) -> Inlined:
    """An image of a run for a page, as lossy WebP of at most 640 pixels wide or high: tens of kilobytes.

    Only PNG is decoded, regardless of the content: other formats may invoke programs such as Ghostscript. Raises:
    DataError if the file is not a PNG, too large, or a link out of ``folder``.
    """
    content = read_bytes(path, folder, MAX_IMAGE)
    try:
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DataError(f"it has more than {MAX_PIXELS} pixels")
            small = image.convert("RGB")
    except Exception as error:  # a crafted file may raise anything in a decoder
        reason = f": {error}" if isinstance(error, DataError) else ""
        raise DataError(f"{path.name} cannot be read as PNG{reason}") from error
    small.thumbnail((MAX_SIDE, MAX_SIDE))
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=QUALITY)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return Inlined(path.stem.replace("_", " "), f"data:image/webp;base64,{data}", *small.size)
