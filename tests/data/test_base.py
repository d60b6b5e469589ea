"""FlowDataModule: custom data modules need two methods; wrong return values are errors."""

import pytest
import torch
from torch.utils.data import Dataset

from lightning_flows.data import FlowDataModule, ImageDataModule
from lightning_flows.data.datasets import ImageDataset
from lightning_flows.errors import InputTypeError, ShapeError, UsageError


class Points(Dataset):
    """Points in the plane, shifted at random when they are accessed."""

    def __init__(self, num: int) -> None:
        self.num = num

    def __len__(self) -> int:
        return self.num

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"point": index + torch.rand(2), "index": torch.tensor(index)}


class PointsDataModule(FlowDataModule):
    def __init__(self, num: int = 24, **kwargs) -> None:
        super().__init__(**kwargs)

    @property
    def event_shape(self) -> tuple[int]:
        return (2,)

    def load_split(self, split: str) -> Points:
        return Points(self.hparams["num"] if split == "train" else 5)


def test_two_methods_are_enough():
    data = PointsDataModule(batch_size=4, eval_batch_size=3)
    for stage in ("fit", "test", "predict"):
        data.setup(stage)
    batches = list(data.train_dataloader())
    assert sorted(torch.cat([batch["index"] for batch in batches]).tolist()) == list(range(24))
    for loader in (data.val_dataloader(), data.test_dataloader(), data.predict_dataloader()):
        assert [batch["index"].tolist() for batch in loader] == [[0, 1, 2], [3, 4]]
    assert list(data.predict_names()) == ["0", "1", "2", "3", "4"]
    assert data.predict_names()[1:3] == ["1", "2"]
    assert (data.num_items("train"), data.num_items("val")) == (24, 5)
    assert data.split_arguments() == ()


def test_training_items_are_reproducible_and_the_global_generator_is_untouched():
    torch.manual_seed(5)
    data = PointsDataModule(batch_size=4)
    data.setup("fit")
    first = torch.cat([batch["point"] for batch in data.train_dataloader()])
    again = torch.cat([batch["point"] for batch in data.train_dataloader()])
    assert torch.equal(first, again)
    assert torch.equal(torch.get_rng_state(), torch.Generator().manual_seed(5).get_state())


@pytest.mark.parametrize(
    ("item", "got"),
    [((torch.zeros(2), 0), "tuple"), ({"point": torch.zeros(2), "label": 1}, "a dict with point, label")],
)
def test_items_of_the_wrong_type_are_refused(item, got, monkeypatch):
    monkeypatch.setattr(Points, "__getitem__", lambda self, index: item)
    with pytest.raises(InputTypeError, match=f"items of PointsDataModule that are dicts with 'index'; got {got}"):
        PointsDataModule().setup("fit")


@pytest.mark.parametrize("num", [3, 40])
def test_an_epoch_may_have_a_number_of_steps(num: int) -> None:
    """More than one pass over few items, or a part of one over many; each pass is over all items."""
    data = PointsDataModule(num, batch_size=4, steps_per_epoch=6)
    data.setup("fit")
    loader = data.train_dataloader()
    batches = [batch["index"] for batch in loader]
    assert len(batches) == len(loader) == 6
    assert all(len(batch) == 4 for batch in batches)
    for items in torch.cat(batches).split(min(num, 24)):  # of a pass
        assert len(items.unique()) == min(num, 24)
    with pytest.raises(UsageError, match="expected steps_per_epoch of at least 1; got 0"):
        PointsDataModule(num, steps_per_epoch=0)


class Images(ImageDataModule):
    """Grayscale 8x8 images; ``given`` replaces them."""

    given: object = ImageDataset(torch.zeros(3, 1, 8, 8, dtype=torch.uint8))

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return 1, 8, 8

    def load_split(self, split: str) -> ImageDataset:
        return self.given


def test_images_without_labels_and_names():
    data = Images(batch_size=2)
    data.setup("predict")
    assert list(data.predict_names()) == ["0", "1", "2"]
    assert [batch["label"].tolist() for batch in data.predict_dataloader()] == [[0, 0], [0]]


def test_images_of_the_wrong_type_or_shape_are_refused(monkeypatch):
    monkeypatch.setattr(Images, "given", Points(3))
    with pytest.raises(InputTypeError, match=r"expected Images\.load_split to return an ImageDataset; got Points"):
        Images().setup("fit")
    monkeypatch.setattr(Images, "given", ImageDataset(torch.zeros(3, 3, 8, 8, dtype=torch.uint8)))
    with pytest.raises(ShapeError, match=r"expected images of shape \(1, 8, 8\); got \(3, 8, 8\) in the train split"):
        Images().setup("fit")
