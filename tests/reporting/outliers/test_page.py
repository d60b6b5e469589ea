import base64
import io
import re

import torch
from PIL import Image

from lightning_flows.reporting.outliers.page import strangest_page

VALUES = {"log_likelihood": -9.0, "bpd": 4.25, "bpd_minus_png": 1.5, "p_likelihood": 0.9, "p_complexity": 0.0125}


def test_images_scores_and_flags() -> None:
    images = torch.randint(256, (2, 3, 4, 5), dtype=torch.uint8)
    items = [("a.png", images[0], VALUES | {"outlier": 1}), ("b.png", images[1], VALUES | {"outlier": 0})]
    html = strangest_page(items, num_items=7, num_held_out=79, false_alarm_rate=0.05)
    assert "2 of 7 images" in html
    assert "79 held-out images" in html
    assert "p of at most 0.05" in html
    assert html.count('class="flagged"') == html.count("flagged</span>") == 1
    assert html.count("p = 0.0125") == html.count("bpd 4.250") == html.count("bpd_minus_png 1.500") == 2
    shown = [base64.b64decode(each) for each in re.findall(r"data:image/png;base64,([^\"]*)", html)]
    for image, content in zip(images, shown, strict=True):
        with Image.open(io.BytesIO(content)) as file:
            pixels = torch.frombuffer(bytearray(file.tobytes()), dtype=torch.uint8).view(4, 5, 3)
        assert torch.equal(pixels.permute(2, 0, 1), image)


def test_names_are_text() -> None:
    html = strangest_page([("<script>\u202e.png", torch.zeros(1, 2, 2, dtype=torch.uint8), VALUES)], num_items=1)
    assert "<script" not in html
    assert "&lt;script&gt;\\u202e.png" in html
    assert "There are no p-values" in html
    assert "flagged</span>" not in html


def test_any_number_of_channels_and_no_image() -> None:
    for channels in (1, 2, 3, 4):
        items = [("a", torch.zeros(channels, 2, 2, dtype=torch.uint8), {"nll": 1.0})]
        assert "nll 1.000" in strangest_page(items, num_items=1)
    assert "0 of 0 images" in strangest_page([], num_items=0)
