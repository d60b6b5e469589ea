"""A page of the strangest images: a single file without scripts or external resources."""

import base64
import io
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from torch import Tensor
from torchvision.transforms.v2 import functional as F

from lightning_flows import __version__
from lightning_flows.reporting.report.page import template


def strangest_page(
    items: Sequence[tuple[str, Tensor, Mapping[str, float]]],
    *,
    num_items: int,
    num_held_out: int = 0,
    false_alarm_rate: float | None = None,
) -> str:
    """Write HTML of images with their scores, the strangest first.

    Names are always text: the template escapes them, and the page forbids scripts.

    Args:
        items: name, image uint8 ``(C, H, W)`` and scores by column of each.
        num_items: number of items that were scored.
        num_held_out: number of held-out items that the p-values are from; 0 if there are none.
        false_alarm_rate: rate at which items were flagged; None if none were.
    """
    shown = [
        {"name": name, "uri": _uri(image), "values": dict(values), "flagged": values.get("outlier") == 1}
        for name, image, values in items
    ]
    return template("strangest.html").render(
        items=shown,
        num_items=num_items,
        num_held_out=num_held_out,
        rate=false_alarm_rate,
        corrected=any("bpd_minus_png" in values for _, _, values in items),
        date=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        version=__version__,
    )


def _uri(image: Tensor) -> str:
    """A lossless ``data:`` URL of an image; channels beyond red, green and blue are left out."""
    file = io.BytesIO()
    F.to_pil_image(image[:3] if len(image) >= 3 else image[:1]).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
