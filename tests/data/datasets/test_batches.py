"""Whole batches: the same items in the same order as one by one, with one access per batch."""

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lightning_flows.data import FlowDataModule
from lightning_flows.data.datasets.batches import MemoryDataset, collate, in_batches
from lightning_flows.data.datasets.samplers import TrainingItems
from lightning_flows.errors import ShapeError

NUM = 23


class Counted(MemoryDataset):
    """Counts how often it is read."""

    reads = 0

    def batch(self, indices: Tensor) -> dict[str, Tensor]:
        self.reads += 1
        return super().batch(indices)


class OneByOne(Dataset):
    """The same items without whole batches."""

    def __init__(self, dataset: MemoryDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return self.dataset[index]


class Rows(FlowDataModule):
    def __init__(self, *, whole: bool = True, **kwargs) -> None:
        super().__init__(**kwargs)

    @property
    def event_shape(self) -> tuple[int]:
        return (2,)

    def load_split(self, split: str) -> Dataset:
        dataset = Counted({"row": torch.arange(2.0 * NUM).view(NUM, 2)})
        return dataset if self.hparams["whole"] else OneByOne(dataset)


def loaded(**options) -> Rows:
    data = Rows(batch_size=4, **options)
    data.setup("fit")
    data.setup("predict")
    return data


def test_items_in_memory() -> None:
    dataset = MemoryDataset({"nodes": torch.arange(6.0).view(3, 2), "true_log_prob": torch.ones(3).double()})
    assert len(dataset) == 3
    item = dataset[1]
    assert (item["nodes"].tolist(), item["index"].item()) == ([2.0, 3.0], 1)
    assert (item["index"].dtype, item["index"].shape) == (torch.int64, ())
    assert item["true_log_prob"].dtype == torch.float64
    assert [each["index"].item() for each in dataset] == [0, 1, 2]
    with pytest.raises(ShapeError, match=r"expected tensors of equal length; got \{'a': 3, 'b': 2\}"):
        MemoryDataset({"a": torch.zeros(3), "b": torch.zeros(2)})


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize("loader", ["train_dataloader", "val_dataloader", "predict_dataloader"])
def test_whole_batches_equal_those_of_single_items(loader: str, num_workers: int) -> None:
    whole, single = (getattr(loaded(whole=whole, num_workers=num_workers), loader)() for whole in (True, False))
    for epoch in range(2):
        if loader == "train_dataloader":
            for each in (whole, single):
                each.sampler.set_epoch(epoch)
        for ours, expected in zip(whole, single, strict=True):
            assert set(ours) == {"row", "index"}
            assert ours["index"].dtype == torch.int64
            for key, value in ours.items():
                assert torch.equal(value, expected[key])


@pytest.mark.parametrize(("loader", "split", "num"), [("train", "train", 5), ("val", "val", 6)])
def test_a_batch_is_read_at_once(loader: str, split: str, num: int) -> None:
    data = loaded()
    before = data.dataset(split).reads
    assert len(list(getattr(data, f"{loader}_dataloader")())) == num
    assert data.dataset(split).reads - before == num


def test_a_trainer_predicts_each_row_once() -> None:
    """Lightning rebuilds the loader for predictions."""

    class Model(LightningModule):
        def predict_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
            return batch["index"]

    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    predicted = Trainer(enable_model_summary=False, **options).predict(Model(), Rows(batch_size=4))
    assert torch.equal(torch.cat(predicted), torch.arange(NUM))


def test_collate() -> None:
    assert torch.equal(collate([torch.zeros(2), torch.ones(2)]), torch.tensor([[0.0, 0.0], [1.0, 1.0]]))
    batch = {"row": torch.zeros(3, 2)}
    assert collate(batch) is batch


def test_any_loader_reads_items():
    """A loader of a user's own, with torch's default collation."""
    data = MemoryDataset({"row": torch.arange(6.0).view(3, 2)})
    first, second = DataLoader(data, batch_size=2)
    assert first["index"].tolist() == [0, 1]
    assert second["row"].tolist() == [[4, 5]]


class Doubled(MemoryDataset):
    """Changes items, as a user may."""

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        item = super().__getitem__(index)
        return item | {"row": 2 * item["row"]}


def test_items_of_a_subclass_are_read_as_it_says():
    data = Doubled({"row": torch.arange(3.0).view(3, 1)})
    assert not in_batches(data)
    assert TrainingItems(data, seed=0).__getitems__([4])[0]["row"].item() == 2
