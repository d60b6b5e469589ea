import base64
import io

import pytest
from PIL import Image

from lightning_flows.errors import DataError
from lightning_flows.reports.pictures import inline


def test_a_picture_is_small_and_whole(tmp_path) -> None:
    path = tmp_path / "a.png"
    Image.effect_noise((1280, 320), 80).save(path)
    picture = inline(path)
    assert (picture.width, picture.height) == (640, 160)
    kind, _, data = picture.uri.partition(",")
    assert kind == "data:image/webp;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (640, 160)
    assert len(picture.uri) < path.stat().st_size / 3


def test_what_is_no_picture(tmp_path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"expected a picture; got a\.png"):
        inline(path)
