"""Images of a folder or archive: layouts, sizes, modes, broken files."""

import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_flows.data.datasets import ImageFiles
from lightning_flows.data.datasets.image_files import summary
from lightning_flows.errors import DataError, UsageError

JPEG_TAR = Path(__file__).parents[4] / "shared/data/cifar10-jpeg-10k.tar"


def save(
    path: Path, *, size: tuple[int, int] = (32, 32), color: tuple[int, int, int] = (10, 20, 30), **options
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path, **options)


def pack(folder: Path, *, arcname: str = ".", suffix: str = ".tar") -> Path:
    path = folder.with_suffix(suffix)
    if suffix == ".zip":
        return Path(shutil.make_archive(str(folder), "zip", folder))
    with tarfile.open(path, "w:gz" if suffix.endswith("gz") else "w") as tar:
        tar.add(folder, arcname=arcname)
    return path


LAYOUTS = {
    "flat": (["1.png", "2.png"], [""], {"": ["1.png", "2.png"]}),
    "by class": (["cat/1.png", "dog/1.png"], ["cat", "dog"], {"": ["cat/1.png", "dog/1.png"]}),
    "one class": (["cat/1.png"], ["cat"], {"": ["cat/1.png"]}),
    "splits, flat": (["test/1.png", "train/1.png"], [""], {"train": ["train/1.png"], "test": ["test/1.png"]}),
    "splits by class": (
        ["test/dog/1.png", "train/cat/1.png", "train/dog/1.png", "val/cat/1.png"],
        ["cat", "dog"],
        {"train": ["train/cat/1.png", "train/dog/1.png"], "val": ["val/cat/1.png"], "test": ["test/dog/1.png"]},
    ),
    "only train": (["train/cat/1.png"], ["cat"], {"train": ["train/cat/1.png"]}),
    "deeper than classes": (["cat/a/1.png", "dog/2.png"], ["cat", "dog"], {"": ["cat/a/1.png", "dog/2.png"]}),
}


@pytest.mark.parametrize("kind", ["folder", "tar", "tar.gz", "zip", "wrapped tar"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(tmp_path, layout, kind):
    names, classes, splits = LAYOUTS[layout]
    root = tmp_path / "images"
    for name in names:
        save(root / name)
    wrapped = kind == "wrapped tar" and any(len(Path(name).parts) > 1 for name in names)
    if kind != "folder":
        root = pack(root, arcname="images" if wrapped else ".", suffix=f".{kind.split()[-1]}")
    prefix = "images/" if wrapped else ""
    files = ImageFiles(str(root))
    assert files.classes == classes
    assert files.splits == {split: [prefix + name for name in names] for split, names in splits.items()}
    assert files.left_out == ""


def test_content_labels_and_names_follow_the_given_order(tmp_path):
    root = tmp_path / "images"
    save(root / "dog/1.png", color=(1, 2, 3))
    save(root / "cat/2.png", color=(4, 5, 6))
    save(root / "ant/3.png", color=(7, 8, 9))
    for files in (ImageFiles(root), *(ImageFiles(pack(root, suffix=suffix)) for suffix in (".tar", ".tar.gz", ".zip"))):
        dataset, _ = files.read(["dog/1.png", "ant/3.png"])
        assert dataset.names == ["dog/1.png", "ant/3.png"]
        assert dataset.labels.tolist() == [2, 0]  # of ant, cat, dog, although no cat is read
        assert dataset.images.shape == (2, 3, 32, 32)
        assert dataset.images[:, :, 5, 6].tolist() == [[1, 2, 3], [7, 8, 9]]


def test_images_outside_the_splits_are_skipped_and_counted(tmp_path):
    for name in ("train/cat/1.png", "test/cat/1.png", "extra/1.png"):
        save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("")
    files = ImageFiles(tmp_path)
    assert files.splits == {"train": ["train/cat/1.png"], "test": ["test/cat/1.png"]}
    assert files.classes == ["cat"]
    assert files.left_out == "2 files skipped (images in extra/: 1, .txt: 1)"


@pytest.mark.parametrize("size", [(64, 48), (48, 64), (20, 30), (40, 40), (33, 32), (32, 100)])
def test_any_size_is_resized_and_center_cropped(tmp_path, size):
    width, height = size
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    ramp = (
        np.stack([x - width / 2, y - height / 2, 0 * x], axis=-1) * 32 / min(size) * 2 + 128
    )  # slope 2 after resizing
    Image.fromarray(ramp.round().clip(0, 255).astype(np.uint8)).save(tmp_path / "1.png")
    dataset, infos = ImageFiles(tmp_path).read(["1.png"])
    image = dataset.images[0].float()
    assert image.shape == (3, 32, 32)
    inner = torch.arange(4, 28)
    assert (image[0, 16, 4:28] - (2 * (inner - 16) + 128)).abs().max() <= 3  # centered, to a pixel and a half
    assert (image[1, 4:28, 16] - (2 * (inner - 16) + 128)).abs().max() <= 3
    assert infos[0].size == size


@pytest.mark.parametrize("target", [(32, 48), (48, 32), (8, 64)])
@pytest.mark.parametrize("size", [(100, 60), (60, 100), (64, 48), (48, 32), (40, 5)])
def test_images_that_are_not_square_keep_their_aspect_ratio(tmp_path, size, target):
    (width, height), (new_height, new_width) = size, target
    x, y = np.meshgrid(np.arange(width) + 0.5 - width / 2, np.arange(height) + 0.5 - height / 2)
    ramp = np.stack([x + 128, y + 128, 0 * x], axis=-1)
    Image.fromarray(ramp.round().astype(np.uint8)).save(tmp_path / "1.png")
    dataset, infos = ImageFiles(tmp_path).read(["1.png"], size=target)
    image = dataset.images[0].float()
    assert image.shape == (3, *target)
    scale = max(new_width / width, new_height / height)
    columns = (torch.arange(new_width) + 0.5 - new_width / 2) / scale + 128
    rows = (torch.arange(new_height) + 0.5 - new_height / 2) / scale + 128
    assert (image[0] - columns).abs().max() <= 2  # one level per original pixel: centered, and not stretched
    assert (image[1] - rows[:, None]).abs().max() <= 2
    num_cropped, num_resized = int(width * new_height != height * new_width), int(scale != 1)
    counts = f"{num_cropped} cropped, {num_resized} resized to {new_height}x{new_width}"
    assert summary(infos, target) == "read 1 image" or counts in summary(infos, target)


def test_downscaling_is_antialiased(tmp_path):
    checkers = (np.indices((256, 256)).sum(0) % 2 * 255).astype(np.uint8)
    Image.fromarray(checkers).save(tmp_path / "1.png")
    dataset, _ = ImageFiles(tmp_path).read(["1.png"])
    assert (dataset.images.float() - 127.5).abs().max() < 4


def test_summary_names_the_range_of_sizes(tmp_path):
    for i, size in enumerate([(32, 32), (64, 48), (20, 20)]):
        save(tmp_path / f"{i}.png", size=size)
    _, infos = ImageFiles(tmp_path).read(["0.png", "1.png", "2.png"])
    text = "read 3 images of width 20 to 64 and height 20 to 48; 1 cropped, 2 resized to 32x32"
    assert summary(infos, (32, 32)) == text
    assert summary(infos[:1], (32, 32)) == "read 1 image"


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1", "LA", "RGBA", "CMYK", "I;16"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_mode_becomes_rgb_or_gray(tmp_path, mode, channels):
    gray = Image.new("L", (16, 16), 255)
    if mode.startswith("I"):
        image = Image.fromarray(np.full((16, 16), 255 * 257, dtype=np.uint16))
    else:
        image = gray.convert(mode)
    image.save(tmp_path / ("1.tif" if mode == "CMYK" else "1.png"))
    files = ImageFiles(tmp_path)
    dataset, _ = files.read(files.splits[""], size=16, channels=channels)
    assert dataset.images.shape == (1, channels, 16, 16)
    assert dataset.images.min() >= 254


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
@pytest.mark.parametrize("damage", ["empty", "text", "truncated"])
@pytest.mark.parametrize("kind", ["folder", ".tar", ".zip"])
def test_a_broken_file_is_named(tmp_path, suffix, damage, kind):
    root = tmp_path / "images"
    save(root / "good.png")
    noise = np.random.default_rng(0).integers(256, size=(32, 32, 3), dtype=np.uint8)
    path = root / f"bad.{suffix}"
    Image.fromarray(noise).save(path)
    content = path.read_bytes()
    path.write_bytes({"empty": b"", "text": b"no image", "truncated": content[: len(content) // 2]}[damage])
    files = ImageFiles(root if kind == "folder" else pack(root, suffix=kind))
    with pytest.raises(DataError, match=rf"bad\.{suffix} is not a readable image \(.+\): remove or replace"):
        files.read(files.splits[""])
    assert len(ImageFiles(root).read(["good.png"])[0]) == 1


def test_an_implausibly_large_image_is_refused(tmp_path, monkeypatch):
    save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(DataError, match=r"bomb\.png is not a readable image \(Image size \(1024 pixels\) exceeds"):
        ImageFiles(tmp_path).read(["bomb.png"])


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"size": 0}, "expected size from 1 to 65,535 pixels, or a list of height and width; got 0"),
        ({"size": (32, 65_536)}, r"got \(32, 65536\)"),
        ({"size": [1, 2, 3]}, r"got \[1, 2, 3\]"),
        ({"channels": 2}, r"channels of 1 \(grayscale\) or 3 \(RGB\); got 2"),
    ],
)
def test_bad_format(tmp_path, kwargs, message):
    save(tmp_path / "1.png")
    with pytest.raises(UsageError, match=message):
        ImageFiles(tmp_path).read(["1.png"], **kwargs)


@pytest.mark.skipif(not JPEG_TAR.exists(), reason=f"needs the shared data: {JPEG_TAR.name}")
def test_real_tar_of_jpeg_files():
    files = ImageFiles(JPEG_TAR)
    assert {part: len(names) for part, names in files.splits.items()} == {"train": 8000, "test": 2000}
    assert files.classes == ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    dataset, infos = files.read(files.splits["test"])
    assert dataset.images.shape == (2000, 3, 32, 32)
    assert dataset.labels.bincount().tolist() == [200] * 10
    assert 100 < dataset.images.float().mean() < 140
    assert summary(infos, (32, 32)) == "read 2000 images"
    assert files.left_out == ""
