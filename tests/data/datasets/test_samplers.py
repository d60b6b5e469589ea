"""Training items and samplers: the same for any loader process, resumable anywhere, each item once."""

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from lightning_flows.data.datasets import ImageDataset
from lightning_flows.data.datasets.samplers import EpochSampler, OnceSampler, TrainingItems

NUM = 23


def items() -> TrainingItems:
    images = torch.arange(NUM * 16, dtype=torch.int).remainder(256).to(torch.uint8).view(NUM, 1, 4, 4)
    return TrainingItems(ImageDataset(images, transform=v2.RandomHorizontalFlip()), seed=3)


def sampler(epoch: int = 0, **kwargs) -> EpochSampler:
    found = EpochSampler(items(), **{"batch_size": 4, **kwargs})
    found.set_epoch(epoch)
    return found


def test_the_transform_depends_only_on_epoch_and_item() -> None:
    data, seen = items(), set()
    for epoch in range(20):
        torch.manual_seed(epoch)
        item = data[epoch * NUM + 7]
        assert item["index"] == 7
        state = torch.get_rng_state()
        torch.manual_seed(99)
        assert torch.equal(data[epoch * NUM + 7]["image"], item["image"])
        seen.add(tuple(item["image"].flatten().tolist()))
    assert len(seen) == 2  # flipped and not
    assert torch.equal(state, torch.Generator().manual_seed(19).get_state())  # the global generator is untouched


def test_an_epoch_visits_each_item_once_in_its_own_order() -> None:
    orders = []
    for epoch in range(3):
        numbers = list(sampler(epoch, drop_last=False))
        assert sorted(numbers) == list(range(epoch * NUM, (epoch + 1) * NUM))
        orders.append([k % NUM for k in numbers])
    assert orders[0] != orders[1] != orders[2] != orders[0]
    assert list(sampler(1, seed=5)) != list(sampler(1))


@pytest.mark.parametrize("drop_last", [True, False])
@pytest.mark.parametrize("done", [0, 1, 3, 100])
def test_a_resumed_epoch_continues_after_the_batches_that_are_done(drop_last: bool, done: int) -> None:
    whole = list(sampler(2, drop_last=drop_last))
    assert list(sampler(2, drop_last=drop_last, first_step=lambda: done)) == whole[done * 4 :]


def test_epoch_and_step_are_read_at_the_first_item() -> None:
    """Lightning creates the iterator of a resumed run before it sets the epoch."""
    step = [0]
    resumed = sampler(first_step=lambda: step[0])
    iterator = iter(resumed)
    resumed.set_epoch(3)
    step[0] = 4
    assert list(iterator) == list(sampler(3))[16:]


@pytest.mark.parametrize("num_ranks", [2, 4])
def test_the_batches_of_all_ranks_equal_those_of_one_rank(num_ranks: int) -> None:
    alone = torch.tensor(list(sampler(1, batch_size=8)))
    shares = [
        torch.tensor(list(sampler(1, batch_size=8 // num_ranks, num_ranks=num_ranks, rank=rank)))
        for rank in range(num_ranks)
    ]
    together: Tensor = torch.stack(shares, dim=1).flatten()
    assert torch.equal(together, alone)


@pytest.mark.parametrize("num_batches", [1, 4, 6, 30])
@pytest.mark.parametrize("shuffle", [True, False])
def test_epochs_of_a_number_of_steps_continue_the_passes(num_batches: int, shuffle: bool) -> None:
    """Whole passes follow each other, across epochs; an item that is seen again has another number."""
    options = {"num_batches": num_batches, "shuffle": shuffle}
    epochs = [list(sampler(epoch, **options)) for epoch in range(24)]
    assert {len(epoch) for epoch in epochs} == {num_batches * 4} == {len(sampler(**options))}
    numbers = [k for epoch in epochs for k in epoch]
    for i in range(len(numbers) // NUM):
        assert sorted(numbers[i * NUM : (i + 1) * NUM]) == list(range(i * NUM, (i + 1) * NUM))
    assert list(sampler(5, first_step=lambda: 3, **options)) == epochs[5][12:]


@pytest.mark.parametrize("num_batches", [2, 30])
def test_ranks_share_the_batches_of_an_epoch_of_a_number_of_steps(num_batches: int) -> None:
    alone = list(sampler(1, batch_size=4, num_batches=num_batches))
    shares = [list(sampler(1, batch_size=2, num_batches=num_batches, num_ranks=2, rank=rank)) for rank in range(2)]
    assert [k for pair in zip(*shares, strict=True) for k in pair] == alone


@pytest.mark.parametrize("num_ranks", [1, 2, 3, 50])
def test_without_dropping_ranks_have_equally_many_items_and_all_are_visited(num_ranks: int) -> None:
    shares = [list(sampler(batch_size=2, drop_last=False, num_ranks=num_ranks, rank=r)) for r in range(num_ranks)]
    assert {len(share) for share in shares} == {-(-NUM // num_ranks)}
    assert {k for share in shares for k in share} == set(range(NUM))


@pytest.mark.parametrize("num_ranks", [1, 2])
def test_without_shuffling_indices_increase_over_steps_ranks_and_epochs(num_ranks: int) -> None:
    seen = []
    for epoch in range(3):
        samplers = [sampler(epoch, batch_size=1, shuffle=False, num_ranks=num_ranks, rank=r) for r in range(num_ranks)]
        assert {len(each) for each in samplers} == {NUM // num_ranks}
        seen.append([k for step in zip(*samplers, strict=True) for k in step])
    whole = NUM // num_ranks * num_ranks
    assert seen == [list(range(epoch * NUM, epoch * NUM + whole)) for epoch in range(3)]


@pytest.mark.parametrize("num_ranks", [2, 3, 23])
def test_evaluation_visits_each_item_once(num_ranks: int) -> None:
    samplers = [OnceSampler(items(), num_ranks=num_ranks, rank=rank) for rank in range(num_ranks)]
    assert sorted(k for each in samplers for k in each) == list(range(NUM))
    assert [len(each) for each in samplers] == [len(list(each)) for each in samplers]
