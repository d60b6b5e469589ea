import pytest
import torch

from lightning_flows.data.datasets.compression import png_bits_per_dim
from lightning_flows.errors import ShapeError
from lightning_flows.reporting.outliers.scores import (
    complexity_corrected,
    png_sizes,
    typicality,
    typicality_left_out,
)

LOSS = torch.tensor([1.0, 2.0, 6.0], dtype=torch.float64)


def test_sizes_are_those_of_each_image() -> None:
    images = torch.randint(256, (3, 3, 8, 8), dtype=torch.uint8)
    images[1] = 7
    sizes = png_sizes(images)
    assert sizes.tolist() == [png_bits_per_dim(image[None]) for image in images]
    assert sizes[1] < sizes[0]
    with pytest.raises(ShapeError, match="1 or 3"):
        png_sizes(images[:, :2])


def test_scores() -> None:
    assert complexity_corrected(LOSS, torch.tensor([3.0, 1.0, 1.0])).tolist() == [-2, 1, 5]
    assert typicality(LOSS, 3.0).tolist() == [2, 1, 3]


def test_typicality_of_a_held_out_item_is_about_the_others() -> None:
    expected = [abs(1 - 4.0), abs(2 - 3.5), abs(6 - 1.5)]
    assert typicality_left_out(LOSS).tolist() == pytest.approx(expected)


def test_a_single_item_has_no_spread() -> None:
    assert typicality_left_out(LOSS[:1]).tolist() == [float("inf")]
