from typing import Any

from lightning_flows.reporting.report.datasets import data_name, datasets
from lightning_flows.reporting.tables.runs import read_runs
from tests.reporting.runs import DATA


def folder_of(root: str, **arguments: Any) -> dict[str, Any]:
    return {"class_path": "lightning_flows.data.ImageFolderDataModule", "init_args": {"root": root, **arguments}}


def test_data_are_named_by_class_and_file() -> None:
    assert data_name({"data": folder_of("/a/photos.tar")}) == "ImageFolder photos.tar"
    assert data_name({}) == "unknown data"


def test_changed_images_are_not_named_like_the_originals() -> None:
    changes = {"downsample": 2, "binarization": "fixed"}
    small = DATA | {"init_args": DATA["init_args"] | changes}
    assert data_name({"data": small}) == "SamplePhotos, downsampled by 2, fixed binarization"
    unchanged = DATA | {"init_args": {"downsample": 1, "binarization": "none"}}
    assert data_name({"data": unchanged}) == "SamplePhotos"


def test_different_data_of_the_same_name_are_told_apart(write_run, tmp_path) -> None:
    write_run("a", data=folder_of("/cats/images", size=64))
    write_run("b", data=folder_of("/cats/images", size=64, batch_size=4, augment=True))
    write_run("c", data=folder_of("/cats/images", size=32))
    write_run("d", data=folder_of("/dogs/images", size=32))
    write_run("e", data=folder_of("/others"))
    found = {name: [run.short_name for run in runs] for name, runs in datasets(read_runs(tmp_path)).items()}
    assert found == {
        "ImageFolder images, root=/cats/images, size=32": ["c"],
        "ImageFolder images, root=/cats/images, size=64": ["a", "b"],
        "ImageFolder images, root=/dogs/images, size=32": ["d"],
        "ImageFolder others": ["e"],
    }


def test_every_run_is_in_one_dataset_whatever_its_config(write_run, tmp_path) -> None:
    for name, arguments in {"a": {"size": None}, "b": {}, "c": {"size": 1}, "d": {"size": "1"}}.items():
        write_run(name, data=folder_of("/images", **arguments))
    write_run("e", data=folder_of("/images", odd={1: "a", "b": 2}))
    found = datasets(read_runs(tmp_path))
    assert sorted(run.short_name for group in found.values() for run in group) == ["a", "b", "c", "d", "e"]
    assert [run.short_name for run in found["ImageFolder images"]] == ["a", "b"]


def test_tests_of_other_items_are_of_other_data(write_run, tmp_path) -> None:
    items = {"file": "items_0.npz", "seed": 0, "num_repeated": 0}
    for name, digest in (("a", "one"), ("b", "one"), ("c", "two")):
        write_run(name, items=items | {"digest": digest})
    runs = read_runs(tmp_path)
    assert [len(group) for group in datasets(runs).values()] == [3]
    found = {name: [run.short_name for run in group] for name, group in datasets(runs, tested=True).items()}
    assert found == {"SamplePhotos, test items=one": ["a", "b"], "SamplePhotos, test items=two": ["c"]}
