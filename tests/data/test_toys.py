"""ToyDataModule: batches, densities, new points in training, streams, errors."""

from itertools import chain
from typing import Any

import pytest
import torch

from lightning_flows.data import ToyDataModule
from lightning_flows.errors import DataError, UsageError


def prepared(**options: Any) -> ToyDataModule:
    small = {"batch_size": 4, "eval_batch_size": 5, "steps_per_epoch": 3, "num_val": 7, "num_test": 11}
    data = ToyDataModule(**small | options)
    for stage in ("fit", "test", "predict"):
        data.setup(stage)
    return data


def points(loader: Any) -> list[tuple[float, ...]]:
    return [tuple(row.tolist()) for batch in loader for row in batch["row"]]


@pytest.mark.parametrize("name", ["moons", "checkerboard"])
def test_batches(name: Any) -> None:
    data = prepared(name=name)
    assert data.event_shape == (2,)
    for split, sizes in {"train": [4, 4, 4], "val": [5, 2], "test": [5, 5, 1], "predict": [5, 5, 1]}.items():
        batches = list(getattr(data, f"{split}_dataloader")())
        assert [len(batch["index"]) for batch in batches] == sizes
        assert list(chain(*[batch["index"].tolist() for batch in batches])) == list(range(sum(sizes)))
        for batch in batches:
            assert batch["row"].dtype == torch.float32
            assert batch["row"].shape == (len(batch["index"]), 2)
            if split == "train":
                assert set(batch) == {"row", "index"}
            else:
                assert torch.equal(batch["true_log_prob"], data.density.log_prob(batch["row"]))


def test_no_point_is_repeated_and_seeds_differ() -> None:
    data, seen = prepared(), []
    for epoch in range(3):
        loader = data.train_dataloader()
        loader.sampler.set_epoch(epoch)  # type: ignore[union-attr]
        seen += points(loader)
    seen += points(data.val_dataloader()) + points(data.test_dataloader())
    assert len(seen) == len(set(seen)) == 3 * 12 + 7 + 11
    assert [data.num_items(split) for split in ("train", "val", "test")] == [12, 7, 11]
    assert points(prepared().train_dataloader()) == seen[:12]
    assert not set(points(prepared(seed=1).train_dataloader())) & set(seen)


def test_arguments_rebuild_it_and_workers_load_the_same_points() -> None:
    data = prepared(name="spirals", noise=0.2, seed=3)
    again = ToyDataModule(**{**data.hparams, "num_workers": 1})
    assert points(again.train_dataloader()) == points(data.train_dataloader())
    assert again.entropy == data.entropy == data.density.entropy


def test_wrong_arguments() -> None:
    with pytest.raises(DataError, match="expected a toy among moons"):
        ToyDataModule(name="mons")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="expected steps_per_epoch of at least 1; got 0"):
        ToyDataModule(steps_per_epoch=0)
    with pytest.raises(UsageError, match="expected num_test of at least 1; got 0"):
        ToyDataModule(num_test=0)
