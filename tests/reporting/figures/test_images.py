import math

import pytest
import torch

from lightning_flows.errors import ShapeError
from lightning_flows.reporting.figures.images import (
    interpolate,
    interpolation_figure,
    nearest_images,
    neighbors_figure,
    samples_figure,
)
from lightning_flows.reporting.figures.style import FRAME, GAP
from tests.reporting.figures.models import SHAPE, small_module, waves


def batches(num: int) -> list[dict[str, torch.Tensor]]:
    """Two batches of ``num`` images."""
    return [{"image": images, "index": torch.arange(num)} for images in waves(2, num, *SHAPE)]


def test_the_ends_of_an_interpolation_are_the_images() -> None:
    first, second = batches(2)
    path = interpolate(small_module(), first, second, num_steps=5)
    assert path.shape == (2, 5, *SHAPE)
    assert torch.equal(path[:, 0], first["image"])
    assert torch.equal(path[:, -1], second["image"])
    assert not torch.equal(path[:, 2], first["image"])
    with pytest.raises(ShapeError, match="2 and 1 images"):
        interpolate(small_module(), first, batches(1)[1])


def test_the_midpoint_is_halfway_on_a_circle() -> None:
    """Latents are standardized by the prior, whose mean and scale are learned."""
    module, (first, second) = small_module(), batches(1)
    base = module.model.flow.base
    assert base.mean.abs().max() > 0.01
    assert base.log_scale.abs().max() > 0.01
    middle = interpolate(module, first, second, num_steps=3)[:, 1]
    (*noise, last), (*others, other) = (module.encode(batch, dtype=torch.float64) for batch in (first, second))
    last = base.from_noise(math.sqrt(0.5) * (base.to_noise(last) + base.to_noise(other)))
    latents = *(math.sqrt(0.5) * (a + b) for a, b in zip(noise, others, strict=True)), last
    assert torch.equal(middle, module.decode(latents, first).floor().clamp(0, 255).to(torch.uint8))


def test_nearest_images_come_first_with_their_distance_in_levels() -> None:
    sample = torch.full((1, *SHAPE), 100, dtype=torch.uint8)
    images = torch.cat([sample + 30, sample - 7, sample + 10])
    data = nearest_images(sample, images, num=2)
    assert torch.equal(data.nearest[0], images[[1, 2]])
    torch.testing.assert_close(data.distances, torch.tensor([[7.0, 10.0]]))


def test_images_keep_their_colors_in_thin_frames() -> None:
    images = waves(5, *SHAPE)
    (image,) = samples_figure(images).axes[0].images
    grid = torch.as_tensor(image.get_array())
    size = 8 + 2 + GAP
    assert grid.shape == (2 * size, 3 * size, 3)
    assert torch.equal(grid[size + 1 : size + 9, 1:9].permute(2, 0, 1), images[3])
    assert (grid[size, :10] == FRAME).all()
    assert (grid[size:, 2 * size :] == 255).all()  # no frame without an image


def test_interpolations_have_headings_in_the_middle_of_their_images() -> None:
    axes = interpolation_figure(waves(2, 3, 1, 8, 8)).axes[0]  # gray
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert labels == ["first image\n$t$ = 0", "$t$ = 0.5", "second image\n$t$ = 1"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["pair 1", "pair 2"]
    assert axes.get_xticks().tolist() == [4.5, 16.5, 28.5]


def test_neighbors_have_their_distances_below() -> None:
    images = waves(2, 3, 1, 8, 8)
    axes = neighbors_figure(nearest_images(images[:, 0], images.flatten(0, 1), num=3)).axes[0]
    assert [text.get_text() for text in axes.texts][::3] == ["0.0", "0.0"]
    assert len(axes.texts) == 6
    assert axes.texts[0].get_position()[0] == 16.5  # below the second image of the row
    assert 9 < axes.texts[0].get_position()[1] < axes.texts[3].get_position()[1]
