import sys
from pathlib import Path

import pytest
import torch

from lightning_flows.app.commands.trained import load_graphs, load_image_flow, load_images, load_mixture
from lightning_flows.data import ImageFolderDataModule, SamplePhotosDataModule
from lightning_flows.errors import CheckpointError

MOG = "lightning_flows.data.GraphMoGDataModule"


def with_data(trained: Path, path: Path, class_path: str | None, **init_args: object) -> str:
    """Copy of a checkpoint that records other data, or none."""
    checkpoint = torch.load(trained, weights_only=True)
    del checkpoint["lightning_flows"]["data"]
    if class_path:
        checkpoint["lightning_flows"]["data"] = {"class_path": class_path, "init_args": init_args}
    torch.save(checkpoint, path)
    return str(path)


def test_data_come_from_the_checkpoint(trained: Path) -> None:
    model = load_image_flow(str(trained), "a test")
    assert not model.training
    data = load_images(str(trained), model)
    assert isinstance(data, SamplePhotosDataModule)
    assert data.hparams["stride"] == 32


def test_images_are_converted_to_the_model_s_shape(trained: Path, image_tar: Path) -> None:
    data = load_images(str(trained), load_image_flow(str(trained), "a test"), str(image_tar))
    data.setup("test")
    assert data.dataset("test").images.shape[1:] == (3, 32, 32)


def test_images_are_averaged_as_in_training(trained: Path, image_tar: Path, tmp_path: Path) -> None:
    photos = "lightning_flows.data.SamplePhotosDataModule"
    path = with_data(trained, tmp_path / "averaged.ckpt", photos, downsample=2)
    model = load_image_flow(path, "a test")
    data = load_images(path, model, str(image_tar))
    data.setup("test")
    expected = ImageFolderDataModule(str(image_tar), size=64, downsample=2)
    expected.setup("test")
    assert torch.equal(data.dataset("test").images, expected.dataset("test").images)
    assert data.event_shape == model.event_shape


@pytest.mark.parametrize("class_path", [None, MOG, "lightning_flows.data.FashionMNISTDataModule"])
def test_data_other_than_images_are_refused(class_path: str | None, trained: Path, tmp_path: Path) -> None:
    path = with_data(trained, tmp_path / "other.ckpt", class_path)
    with pytest.raises(CheckpointError, match=r"images of shape \(3, 32, 32\) but .*--images"):
        load_images(path, load_image_flow(path, "a test"))


@pytest.mark.parametrize("class_path", ["foreign_data.Images", "lightning_flows.flows.ConvSylvesterFlow"])
def test_untrusted_classes_are_neither_built_nor_imported(
    class_path: str, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "foreign_data.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    path = with_data(trained, tmp_path / "foreign.ckpt", class_path)
    with pytest.raises(CheckpointError, match=class_path):
        load_images(path, load_image_flow(path, "a test"))
    assert "foreign_data" not in sys.modules


def test_only_complete_graphs_have_a_mixture(trained: Path, tmp_path: Path) -> None:
    assert load_mixture(with_data(trained, tmp_path / "mog9.ckpt", MOG, mixture="mog9")).num_means == 9
    with pytest.raises(CheckpointError, match="complete graphs drawn from a mixture"):
        load_mixture(with_data(trained, tmp_path / "sizes.ckpt", MOG, sizes=[2, 3]))
    with pytest.raises(CheckpointError, match="SamplePhotosDataModule"):
        load_mixture(str(trained))


def test_graphs_are_loaded_from_the_checkpoint_if_recorded(trained: Path, tmp_path: Path) -> None:
    graphs = load_graphs(with_data(trained, tmp_path / "sizes.ckpt", MOG, sizes=[2, 3]))
    assert graphs is not None
    mask = graphs.draw_structure(50, torch.Generator().manual_seed(0)).mask
    assert set(mask.sum(1).tolist()) == {2, 3}
    for class_path in (None, "foreign_data.Graphs", "lightning_flows.data.FashionMNISTDataModule"):
        assert load_graphs(with_data(trained, tmp_path / "other.ckpt", class_path)) is None
