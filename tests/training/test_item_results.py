"""Results of items do not depend on batches, order, ranks or repetitions; what the items were is recognized."""

import numpy as np
import pytest
import torch

from lightning_flows.training import item_results
from lightning_flows.training.item_results import ItemCollector, contents

IMAGES = torch.randint(256, (6, 3, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def collected(parts, images=IMAGES):
    """Results of items in batches: item i has the loss i/4."""
    collector = ItemCollector()
    for part in parts:
        index = torch.tensor(part)
        collector.add({"image": images[index], "index": index}, {"index": index, "loss": index / 4})
    return collector


def test_order_batches_and_repetitions_do_not_matter():
    whole, pieces = collected([range(6)]).gathered(), collected([[4, 1], [5, 0, 2], [3, 4, 1]]).gathered()
    assert whole.index.tolist() == pieces.index.tolist() == [0, 1, 2, 3, 4, 5]
    assert pieces.values["loss"].dtype == np.float64
    assert pieces.values["loss"].tolist() == [0, 0.25, 0.5, 0.75, 1, 1.25]
    assert (whole.num_repeated, pieces.num_repeated) == (0, 2)
    assert whole.digest == pieces.digest


@pytest.mark.parametrize("change", ["pixel", "order", "fewer"])
def test_other_items_have_another_digest(change):
    images, parts = IMAGES.clone(), [range(6)]
    if change == "pixel":
        images[3, 0, 0, 0] += 1
    elif change == "order":
        images = images.flip(0)
    else:
        parts = [range(5)]
    assert collected(parts, images).gathered().digest != collected([range(6)]).gathered().digest


def test_ranks_are_gathered(monkeypatch):
    ranks = [collected([[0, 2], [4]])._batches, collected([[1], [3, 5]])._batches]
    monkeypatch.setattr(item_results, "gather_objects", lambda own: ranks)
    gathered = ItemCollector().gathered()
    assert gathered.values["loss"].tolist() == [0, 0.25, 0.5, 0.75, 1, 1.25]
    assert gathered.digest == collected([range(6)]).gathered().digest
    ranks[1] = None
    assert ItemCollector().gathered() is None


@pytest.mark.parametrize(
    ("batch", "outputs", "loader"),
    [
        ({"index": torch.arange(2)}, None, 0),
        ({"index": torch.arange(2)}, torch.zeros(()), 0),
        ({"index": torch.arange(2)}, {"loss": torch.zeros(2)}, 0),
        ((torch.zeros(2),), {"index": torch.arange(2)}, 0),
        ({"index": torch.arange(2)}, {"index": torch.arange(2), "loss": torch.zeros(2)}, 1),
        ({"index": torch.arange(2)}, {"index": torch.arange(2)}, 0),
    ],
)
def test_results_that_are_not_per_item_are_dropped(batch, outputs, loader):
    collector = collected([range(3)])
    collector.add(batch, outputs, loader)
    assert collector.gathered() is None


def test_without_batches_there_are_no_results():
    assert ItemCollector().gathered() is None


def test_tensors_of_any_dtype_are_hashed():
    def batch():
        return {
            "index": torch.arange(2),
            "flag": torch.tensor([True, False]),
            "half": torch.ones(2, 3, dtype=torch.bfloat16),
            "label": torch.tensor([3, 4]),
            "name": ["a", "b"],
            "scalar": torch.tensor(1.0),
            "image": torch.arange(24.0).reshape(2, 3, 2, 2).to(memory_format=torch.channels_last),
        }

    first = contents(batch(), 2)
    assert first.tolist() == contents(batch() | {"index": torch.tensor([5, 6])}, 2).tolist()
    assert first.tolist() == contents(batch() | {"image": torch.arange(24.0).reshape(2, 3, 2, 2)}, 2).tolist()
    for name in ("flag", "half", "label", "image"):
        changed = batch()
        changed[name][1] = 0 if name != "flag" else True
        second = contents(changed, 2)
        assert (first == second).tolist() == [True, False], name
