"""Training images: the same whatever loads them, in an order that can be taken up anywhere."""

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from lightning_flows.data.datasets import ImageDataset
from lightning_flows.data.datasets.samplers import ShuffledSampler, TrainingImages

NUM = 23


def images() -> TrainingImages:
    images = torch.arange(NUM * 16, dtype=torch.int).remainder(256).to(torch.uint8).view(NUM, 1, 4, 4)
    flip = v2.RandomHorizontalFlip()
    return TrainingImages(
        ImageDataset(images, torch.zeros(NUM), names=list(map(str, range(NUM))), transform=flip), seed=3
    )


def sampler(epoch: int = 0, **kwargs) -> ShuffledSampler:
    found = ShuffledSampler(images(), **{"batch_size": 4, "drop_last": True, "seed": 0, **kwargs})
    found.set_epoch(epoch)
    return found


def test_the_transform_follows_from_epoch_and_image() -> None:
    data, seen = images(), set()
    for epoch in range(20):
        torch.manual_seed(epoch)
        item = data[epoch * NUM + 7]
        assert item["index"] == 7
        torch.manual_seed(99)
        assert torch.equal(data[epoch * NUM + 7]["image"], item["image"])
        seen.add(tuple(item["image"].flatten().tolist()))
    assert len(seen) == 2  # flipped and not


def test_an_epoch_sees_each_image_once_in_an_order_of_its_own() -> None:
    orders = []
    for epoch in range(3):
        numbers = list(sampler(epoch, drop_last=False))
        assert sorted(numbers) == list(range(epoch * NUM, (epoch + 1) * NUM))
        orders.append([k % NUM for k in numbers])
    assert orders[0] != orders[1] != orders[2] != orders[0]
    assert list(sampler(1, seed=5)) != list(sampler(1))


@pytest.mark.parametrize("drop_last", [True, False])
@pytest.mark.parametrize("done", [0, 1, 3])
def test_within_an_epoch_it_goes_on_behind_the_batches_that_are_done(drop_last: bool, done: int) -> None:
    whole = list(sampler(2, drop_last=drop_last))
    assert list(sampler(2, drop_last=drop_last, first_step=lambda: done)) == whole[done * 4 :]


@pytest.mark.parametrize("num_ranks", [2, 4])
def test_the_batches_of_all_ranks_together_are_those_of_one(num_ranks: int) -> None:
    alone = torch.tensor(list(sampler(1, batch_size=8)))
    shares = [
        torch.tensor(list(sampler(1, batch_size=8 // num_ranks, num_ranks=num_ranks, rank=rank)))
        for rank in range(num_ranks)
    ]
    together: Tensor = torch.stack(shares, dim=1).flatten()
    assert torch.equal(together, alone)


@pytest.mark.parametrize("num_ranks", [1, 2, 3, 50])
def test_without_dropping_all_ranks_have_as_many_and_all_images_come(num_ranks: int) -> None:
    shares = [list(sampler(batch_size=2, drop_last=False, num_ranks=num_ranks, rank=r)) for r in range(num_ranks)]
    assert {len(share) for share in shares} == {-(-NUM // num_ranks)}
    assert {k for share in shares for k in share} == set(range(NUM))
