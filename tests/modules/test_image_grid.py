import pytest
import torch

from lightning_flows.modules.image_grid import image_grid


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("scale", [1, 3])
def test_each_image_is_where_it_belongs_between_gray_lines(channels: int, scale: int) -> None:
    images = torch.arange(5 * channels * 4 * 2, dtype=torch.uint8).reshape(5, channels, 4, 2)
    grid, (height, width) = image_grid(images, 2, scale), (4 * scale + 1, 2 * scale + 1)
    assert grid.shape == (3, 3 * height + 1, 2 * width + 1)
    assert (grid[:, ::height] == 160).all()
    assert (grid[:, :, ::width] == 160).all()
    for i, image in enumerate(images):
        top, left = i // 2 * height + 1, i % 2 * width + 1
        shown = grid[:, top : top + 4 * scale, left : left + 2 * scale].reshape(3, 4, scale, 2, scale)
        assert (shown == image[:, :, None, :, None]).all()


def test_by_default_there_are_as_many_rows_as_columns() -> None:
    assert image_grid(torch.zeros(9, 3, 4, 2, dtype=torch.uint8)).shape == (3, 3 * 5 + 1, 3 * 3 + 1)


@pytest.mark.parametrize(("channels", "shown"), [(2, [10, 20, 0]), (4, [10, 20, 30])])
def test_other_numbers_of_channels_are_shown_as_colors(channels: int, shown: list[int]) -> None:
    levels = torch.tensor([10, 20, 30, 40], dtype=torch.uint8)[:channels, None, None]
    grid = image_grid(levels.expand(2, channels, 4, 4))
    assert grid.shape == (3, 6, 11)
    assert grid[:, 2, 2].tolist() == shown
