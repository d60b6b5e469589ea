import math

import pytest
import torch

from lightning_flows.errors import ShapeError
from lightning_flows.reporting.figures import (
    interpolate,
    interpolation_figure,
    nearest_images,
    neighbors_figure,
    samples_figure,
)
from lightning_flows.reporting.figures.images import CAPTION, GAP
from tests.reporting.figures.digest import digest
from tests.reporting.figures.models import SHAPE, small_model, waves


def test_the_ends_of_an_interpolation_are_the_images() -> None:
    first, second = waves(2, 2, *SHAPE)
    path = interpolate(small_model(), first, second, num_steps=5)
    assert path.shape == (2, 5, *SHAPE)
    assert torch.equal(path[:, 0], first)
    assert torch.equal(path[:, -1], second)
    assert not torch.equal(path[:, 2], first)
    with pytest.raises(ShapeError, match="two images a pair"):
        interpolate(small_model(), first, second[:1])


def test_the_middle_is_half_way_on_a_circle() -> None:
    model = small_model()
    first, second = waves(2, 1, *SHAPE)
    middle = interpolate(model, first, second, num_steps=3)[:, 1]
    (*noise, last), (*others, other) = (model.flow.encode(x + 0.5, dtype=torch.float64) for x in (first, second))
    base = model.flow.base
    last = base.from_noise(math.sqrt(0.5) * (base.to_noise(last) + base.to_noise(other)))
    values = model.flow.decode(
        (*(math.sqrt(0.5) * (a + b) for a, b in zip(noise, others, strict=True)), last), dtype=torch.float64
    )
    assert torch.equal(middle, values.floor().clamp(0, 255).to(torch.uint8))


def test_data_stay_what_they_are() -> None:
    images = waves(12, *SHAPE)
    assert digest(nearest_images(images[:3], images[3:], num=2), decimals=3) == "182fbbf918d96233"
    path = interpolate(small_model(), *waves(2, 2, *SHAPE), num_steps=5)
    assert digest([path]) == "e0c42fac6cdaafcf"


def test_nearest_images_come_first_with_their_distance_in_levels() -> None:
    sample = torch.full((1, *SHAPE), 100, dtype=torch.uint8)
    images = torch.cat([sample + 30, sample - 7, sample + 10])
    data = nearest_images(sample, images, num=2)
    assert torch.equal(data.nearest[0], images[[1, 2]])
    torch.testing.assert_close(data.distances, torch.tensor([[7.0, 10.0]]))


def test_images_keep_their_colors_in_a_figure() -> None:
    images = waves(5, *SHAPE)
    (image,) = samples_figure(images).axes[0].images
    grid = torch.as_tensor(image.get_array())
    assert grid.shape == (2 * (8 + GAP), 3 * (8 + GAP), 3)
    assert torch.equal(grid[8 + GAP : 16 + GAP, :8].permute(2, 0, 1), images[3])
    assert (grid[8 + GAP :, 2 * (8 + GAP) :] == 255).all()


def test_labels() -> None:
    images = waves(2, 3, 1, 8, 8)  # grey
    labels = [label.get_text() for label in interpolation_figure(images).axes[0].get_xticklabels()]
    assert labels == ["0", "0.5", "1"]
    figure = neighbors_figure(nearest_images(images[:, 0], images.flatten(0, 1), num=3))
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert len(texts) == 6
    assert texts[0] == "0.0"
    assert figure.axes[0].images[0].get_array().shape == (2 * (8 + CAPTION), 4 * (8 + GAP), 3)
