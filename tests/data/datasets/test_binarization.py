"""Binary images: probabilities, and what each draw depends on."""

import math

import pytest
import torch
from torchvision.transforms import v2

from lightning_flows.data.datasets.binarization import binarized, drawn
from lightning_flows.data.datasets.images import ImageDataset
from lightning_flows.data.datasets.samplers import TrainingItems
from lightning_flows.functional.philox import streams


def gray(num: int = 50, num_levels: int = 256) -> ImageDataset:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(num_levels, (num, 1, 6, 5), generator=generator).byte()
    return ImageDataset(images, torch.arange(num), names=[f"image {i}" for i in range(num)])


@pytest.mark.parametrize("num_levels", [256, 17, 3])
def test_a_pixel_is_one_with_the_probability_of_its_level(num_levels):
    num, levels = 4000, torch.arange(num_levels, dtype=torch.uint8).view(1, 1, -1)
    ones = drawn(levels.expand(num, 1, 1, -1), num_levels, streams(0, "test", range(num))).double().mean((0, 1, 2))
    p = torch.arange(num_levels) / (num_levels - 1)
    assert ones[0] == 0
    assert ones[-1] == 1
    z = (ones - p)[1:-1] / (p * (1 - p) / num).sqrt()[1:-1]
    assert z.abs().max() < 4.5
    assert abs(z.mean()) < 4 / math.sqrt(num_levels - 2)


@pytest.mark.parametrize("num_levels", [256, 17, 4, 2])
def test_threshold(num_levels):
    dataset = gray(num_levels=num_levels)
    found = binarized(dataset, "threshold", split="train", num_levels=num_levels)
    assert torch.equal(found.images, (dataset.images / (num_levels - 1) >= 0.5).byte())
    assert torch.equal(found.labels, dataset.labels)
    assert found.names == dataset.names


def test_none_keeps_the_levels():
    assert binarized(dataset := gray(), "none", split="train") is dataset


@pytest.mark.parametrize(("how", "split"), [("fixed", "train"), ("fixed", "test"), ("dynamic", "val")])
def test_a_fixed_draw_depends_on_seed_split_and_index(how, split):
    def images(num: int = 50, **options) -> torch.Tensor:
        return binarized(gray(), how, **{"split": split, "seed": 3} | options).images[:num]

    assert images().dtype == torch.uint8
    assert images().unique().tolist() == [0, 1]
    assert torch.equal(images(), images())
    assert not torch.equal(images(), images(seed=4))
    assert not torch.equal(images(), images(split="predict"))
    first = ImageDataset(gray().images[:7])
    assert torch.equal(binarized(first, how, split=split, seed=3).images, images(7))


def test_chunks_do_not_matter(monkeypatch):
    before = binarized(gray(), "fixed", split="val").images
    monkeypatch.setattr("lightning_flows.data.datasets.binarization.CHUNK", 7)
    assert torch.equal(binarized(gray(), "fixed", split="val").images, before)


def items(numbers: list[int], *, seed: int = 0, **options) -> torch.Tensor:
    dataset = binarized(gray(), "dynamic", split="train", **options)
    return TrainingItems(dataset, seed=seed).__getitems__(numbers)["image"]


def test_a_dynamic_draw_depends_on_seed_epoch_and_index():
    batch = items([3, 5, 53])
    assert batch.unique().tolist() == [0, 1]
    assert torch.equal(items([53, 3])[1], batch[0])  # not on the batch
    assert not torch.equal(batch[0], batch[2])  # image 3 in epochs 0 and 1
    assert not torch.equal(items([3], seed=1)[0], batch[0])
    dataset = TrainingItems(binarized(gray(), "dynamic", split="train"), seed=0)
    assert torch.equal(dataset[53]["image"], batch[2])
    assert dataset[53]["index"] == 3
    average = items([50 * epoch + 3 for epoch in range(3000)]).double().mean(0)
    assert torch.allclose(average, gray().images[3].double() / 255, atol=0.04)


def test_a_dynamic_draw_advances_no_generator():
    state = torch.get_rng_state()
    items([3, 5])
    assert torch.equal(torch.get_rng_state(), state)


def test_a_transform_comes_before_the_draw():
    black = ImageDataset(torch.zeros(4, 1, 6, 5, dtype=torch.uint8), transform=v2.Lambda(lambda image: 255 - image))
    dynamic = binarized(black, "dynamic", split="train")
    assert TrainingItems(dynamic, seed=0)[2]["image"].min() == 1
    assert torch.equal(dynamic[2]["image"], torch.full((1, 6, 5), 255).byte())  # gray by index
