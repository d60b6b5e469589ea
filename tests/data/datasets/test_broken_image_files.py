"""Folders and archives that contain broken, huge, linked, copied or transparent files."""

import os

import pytest
from PIL import Image

from lightning_flows.data.datasets import ImageFiles
from lightning_flows.data.datasets.image_files import summary
from lightning_flows.errors import DataError
from tests.data.datasets.test_image_files import pack, save


def test_all_broken_files_are_named_at_once(tmp_path):
    save(tmp_path / "good.png")
    for i in range(12):
        (tmp_path / f"{i:02d}.png").write_bytes(b"" if i % 2 else b"no image")
    os.mkfifo(tmp_path / "pipe.png")
    files = ImageFiles(tmp_path)
    with pytest.raises(DataError) as caught:
        files.read(files.splits[""])
    message = str(caught.value)
    assert message.startswith(f"13 files cannot be used: {tmp_path}/00.png is not a readable image (unknown or damaged")
    assert message.endswith(
        "09.png is not a readable image (unknown or damaged format), and 3 more: remove or replace them, or add --"
        "data.skip_broken=true"
    )
    with pytest.raises(DataError, match=r"pipe\.png is not a regular file, or is a dangling link: remove or replace"):
        ImageFiles(tmp_path).read(["good.png"], check=["pipe.png"])


def test_broken_files_can_be_skipped(tmp_path):
    for i in range(6):
        save(tmp_path / f"{i}.png", color=(i, i, i))
    for i in (1, 4):
        (tmp_path / f"{i}.png").write_bytes(b"")
    os.mkfifo(tmp_path / "pipe.png")
    files = ImageFiles(tmp_path, skip_broken=True)
    assert list(files.digests(files.splits[""])) == [f"{i}.png" for i in range(6)]  # of all readable files
    dataset, infos = files.read(files.splits[""])
    assert dataset.names == ["0.png", "2.png", "3.png", "5.png"]
    assert dataset.images[:, 0, 0, 0].tolist() == [0, 2, 3, 5]
    assert len(dataset.labels) == len(infos) == 4
    assert list(files.broken) == ["pipe.png", "1.png", "4.png"]


def test_files_that_are_only_checked_are_not_kept(tmp_path):
    for i in range(4):
        save(tmp_path / f"{i}.png", color=(i, i, i))
    dataset, infos = ImageFiles(tmp_path).read(["3.png", "1.png"], check=["0.png", "2.png"])
    assert dataset.names == ["3.png", "1.png"]
    assert dataset.images[:, 0, 0, 0].tolist() == [3, 1]
    assert len(infos) == 2


@pytest.mark.parametrize("num_bytes", [2**29 + 1, 2**40])
def test_a_file_of_terabytes_is_not_read(tmp_path, num_bytes):
    save(tmp_path / "good.png")
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(num_bytes)  # a sparse file
    with pytest.raises(DataError, match=rf"huge\.png has {num_bytes:,} bytes, more than the limit of 536,870,912"):
        ImageFiles(tmp_path).read(["good.png", "huge.png"])


def test_images_beyond_the_memory_are_refused(tmp_path):
    save(tmp_path / "1.png")
    with pytest.raises(DataError, match=r"choose a smaller --data\.size or fewer images"):
        ImageFiles(tmp_path).read(["1.png"] * 10_000, size=65_535)


def test_digests_depend_only_on_the_content(tmp_path):
    root = tmp_path / "images"
    for i, name in enumerate(["a/1.png", "a/2.png", "b/1.png"]):
        save(root / name, color=(i % 2, 0, 0))
    first, second, copy = ImageFiles(root).digests(["a/1.png", "a/2.png", "b/1.png"]).values()
    assert len(first) == 16
    assert first == copy != second
    packed = ImageFiles(pack(root, arcname="wrapped"))
    assert packed.digests(["wrapped/a/2.png", "wrapped/a/1.png"]) == {
        "wrapped/a/1.png": first,
        "wrapped/a/2.png": second,
    }
    read_first = ImageFiles(root)
    read_first.read(["a/1.png"])
    (root / "a/1.png").unlink()
    assert read_first.digests(["a/1.png"]) == {"a/1.png": first}  # not read twice


def test_a_link_to_an_included_image_counts_once(tmp_path):
    save(tmp_path / "b/real.png")
    (tmp_path / "a.png").symlink_to("b/real.png")
    (tmp_path / "b/c.png").symlink_to("real.png")
    (tmp_path / "elsewhere.png").symlink_to("/nowhere/1.png")
    files = ImageFiles(tmp_path)
    assert files.splits == {"": ["b/real.png", "elsewhere.png"]}
    assert files.left_out == "2 files skipped (links to images: 2)"


def test_splits_of_links_are_read(tmp_path):
    for i, split in enumerate(["train", "test", "train"]):
        save(tmp_path / f"all/{i}.png")
        (tmp_path / split).mkdir(exist_ok=True)
        (tmp_path / split / f"{i}.png").symlink_to(f"../all/{i}.png")
    files = ImageFiles(tmp_path)
    assert files.splits == {"train": ["train/0.png", "train/2.png"], "test": ["test/1.png"]}
    assert files.left_out == "3 files skipped (images in all/: 3)"


def test_splits_that_cannot_be_followed_are_refused(tmp_path):
    root = tmp_path / "images"
    save(root / "train/1.png")
    save(root / "test/2.png")
    (root / "val").symlink_to("test")
    for path in (root, pack(root)):
        with pytest.raises(DataError, match="has a link 'val', which is not followed: put the images themselves there"):
            ImageFiles(path)
    (root / "val").unlink()
    (root / "train/3.png").symlink_to("../test/2.png")
    assert ImageFiles(root).splits["train"] == ["train/1.png", "train/3.png"]
    with pytest.raises(DataError, match=r"has a link '(\./)?train/3\.png', which is not followed"):
        ImageFiles(pack(root))


def test_refused_layouts_name_the_root(tmp_path):
    save(tmp_path / "cats/1.png")
    save(tmp_path / "Train/1.png")
    with pytest.raises(DataError, match=f"{tmp_path}: 'Train' may be a split or a class"):
        ImageFiles(tmp_path)


def test_transparency_is_reported(tmp_path):
    save(tmp_path / "1.png")
    Image.new("RGBA", (32, 32), (0, 0, 0, 0)).save(tmp_path / "2.png")
    Image.new("RGBA", (32, 32), (0, 0, 0, 255)).save(tmp_path / "3.png")
    files = ImageFiles(tmp_path)
    dataset, infos = files.read(files.splits[""])
    assert summary(infos, (32, 32)) == "read 3 images; 1 with transparency, composited onto white"
    assert dataset.images[:, 0, 0, 0].tolist() == [10, 255, 0]


def test_multiline_names_are_printed_on_one_line(tmp_path):
    (tmp_path / "a\nb.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"a\\nb\.png is not a readable image"):
        ImageFiles(tmp_path).read(["a\nb.png"])


def test_photographs_in_heic_are_named(tmp_path):
    """They are skipped by their suffix, and refused by their content; each message says what to do."""
    (tmp_path / "IMG_1.HEIC").write_bytes(b"")
    with pytest.raises(DataError, match=r"\(\.heic: 1\): expected .*; convert \.heic to JPEG to use them$"):
        ImageFiles(tmp_path)
    save(tmp_path / "good.png")
    files = ImageFiles(tmp_path)
    assert files.left_out == "1 file skipped (.heic: 1); convert .heic to JPEG to use them"
    (tmp_path / "a.jpg").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    files = ImageFiles(tmp_path)
    with pytest.raises(DataError, match=r"a\.jpg is not a readable image \(HEIC or AVIF: convert it to JPEG\)"):
        files.read(files.splits[""])
