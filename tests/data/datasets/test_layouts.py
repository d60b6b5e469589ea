"""Folders to splits and classes: synonyms, similar names, and refused folders."""

import pytest

from lightning_flows.data.datasets.layouts import find_layout, resembled_split, split_of
from lightning_flows.errors import DataError


def layout(*names: str):
    return find_layout({name: tuple(name.split("/")) for name in names})


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("train", "val", "test"),
        ("Train", "Val", "Test"),
        ("TRAIN", "VALID", "TEST"),
        ("training", "validation", "testing"),
        ("Training", "valid", "Testing"),
    ],
)
@pytest.mark.parametrize("wrapper", ["", "pets/", "a/b/"])
@pytest.mark.parametrize("pattern", ["{split}/{i}.png", "{split}/cat/{i}.png", "cat/{split}/{i}.png"])
def test_synonyms_in_any_case(train, val, test, wrapper, pattern):
    names = [wrapper + pattern.format(split=split, i=i) for i, split in enumerate((train, val, test))]
    if not wrapper and pattern.startswith("cat"):
        names.append(f"dog/{train}/9.png")  # otherwise cat is a wrapper
    found = layout(*names)
    assert {split: members[0] for split, members in found.splits.items()} == dict(
        zip(("train", "val", "test"), names, strict=False)
    )
    assert not found.outside


@pytest.mark.parametrize(
    "folders",
    [
        ("train_images", "test_images"),
        ("train2017", "val2017"),
        ("trainA", "trainB", "testA", "testB"),
        ("TrainSet", "TestSet"),
        ("trainset", "testset"),
        ("DIV2K_train_HR", "DIV2K_valid_HR"),
        ("seg_train", "seg_test", "seg_pred"),
        ("train", "dev"),
        ("train", "validation_images"),
        ("train", "val", "test", "test2"),
        ("cats", "dogs", "test_images"),
        ("cats", "holdout"),
    ],
)
@pytest.mark.parametrize("pattern", ["{}/1.png", "{}/cat/1.png", "wrapper/{}/cat/1.png"])
def test_folders_that_resemble_splits_are_refused(folders, pattern):
    with pytest.raises(DataError, match=r"may be a split or a class: expected train/, val/ and test/"):
        layout(*(pattern.format(folder) for folder in folders))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["val/1.png", "valid/2.png", "train/3.png"], "'val' and 'valid' are both val: merge or rename them"),
        (["Train/1.png", "train/2.png"], "'Train' and 'train' are both train"),
        (["car/1.png", "train/2.png", "bus/3.png"], r"'train' may be a split or a class: it is next to bus/ \(1\)"),
        (["1.png", "2.png", "test/3.png"], r"'test' may be a split or a class: it is next to loose images \(2\)"),
        (["cat/test/1.png", "dog/2.png"], "'cat/test' looks like a split inside 'cat'"),
        (["pets/cover.png", "pets/train/1.png", "pets/test/2.png"], "'pets/train' looks like a split inside"),
        (["train/test/1.png", "val/2.png"], "'train/test' looks like a split inside 'train'"),
        (["cat/a/test_images/1.png", "dog/2.png"], "'cat/a/test_images' looks like a split"),
    ],
)
def test_ambiguous_layouts_are_refused_by_name(names, message):
    with pytest.raises(DataError, match=message):
        layout(*names)


@pytest.mark.parametrize("names", [["test tubes/1.png", "cups/2.png"], ["trains/1.png", "planes/2.png"]])
def test_classes_with_such_words_stay_classes(names):
    assert layout(*names).splits == {"": names}


def test_a_folder_of_its_own_split_may_repeat():
    assert layout("train/train/1.png", "test/test/2.png").splits == {
        "train": ["train/train/1.png"],
        "test": ["test/test/2.png"],
    }


def test_one_wrapper_like_a_split_is_a_wrapper():
    assert layout("train_images/cat/1.png", "train_images/dog/2.png").class_of == {
        "train_images/cat/1.png": "cat",
        "train_images/dog/2.png": "dog",
    }


def test_images_outside_the_splits_are_counted_by_folder():
    found = layout("train/1.png", "test/2.png", "unlabeled/a/3.png", "4.png", "5.png")
    assert found.splits == {"train": ["train/1.png"], "test": ["test/2.png"]}
    assert found.outside == {"unlabeled/": 1, "": 2}


def test_words():
    assert split_of(" Validation ") == "val"
    assert split_of("latest") is None
    assert resembled_split("latest") is None
    assert resembled_split("contest images") is None
    assert resembled_split("2_Testing-Images") == "test"
