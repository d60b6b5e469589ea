"""Crops of images, and levels of a flow for them."""

import pytest
import torch
from torch import nn

from lightning_flows.flows import CouplingFlow, Flow, PixelAutoregressiveFlow
from lightning_flows.nets import AttentionSizes
from lightning_flows.testing import perturb
from lightning_flows.testing.crops import crop, fixed_size, for_crop
from tests.small_modules import DENSE


@pytest.mark.parametrize(
    ("shape", "max_values", "expected"),
    [
        ((2, 3, 8, 8), 192, (3, 8, 8)),  # small enough
        ((2, 3, 8, 8), 191, (3, 4, 4)),
        ((2, 3, 16, 8), 48, (3, 4, 2)),
        ((2, 1, 12, 12), 40, (1, 6, 6)),
        ((2, 1, 6, 8), 12, None),  # half of 6 is odd
        ((2, 3, 4, 4), 2, None),
        ((2, 64), 2, None),  # no images
    ],
)
def test_sides_are_halved_while_they_stay_even(
    shape: tuple[int, ...], max_values: int, expected: tuple[int, ...] | None
) -> None:
    found = crop(torch.zeros(shape), max_values)
    assert (None if found is None else tuple(found.shape[1:])) == expected


def test_a_crop_is_the_center() -> None:
    x = torch.arange(32.0).view(1, 1, 8, 4)
    found = crop(x, 8)
    assert found is not None
    assert torch.equal(found, x[:, :, 2:6, 1:3])
    assert found.is_contiguous()


def coupling(size: int) -> Flow:
    flow = CouplingFlow((3, size, size), num_levels=1, steps_per_level=2, hidden_channels=8, split=DENSE)
    return perturb(flow.double(), torch.rand(8, 3, size, size, dtype=torch.float64))


def test_a_level_for_crops_has_the_weights_of_the_whole() -> None:
    flow, expected = coupling(16), coupling(8).levels[0]
    level = for_crop(flow.levels[0], 2)
    expected.load_state_dict(level.state_dict())
    x = torch.rand(2, 3, 8, 8, dtype=torch.float64)
    for found, value in zip(level(x), expected(x), strict=True):
        torch.testing.assert_close(found, value, rtol=0, atol=1e-12)
    assert for_crop(flow, 2).event_shape == (3, 8, 8)
    assert flow.event_shape == (3, 16, 16)  # not changed


def test_what_fixes_the_size_of_images_is_named() -> None:
    x = torch.rand(2, 3, 4, 4, dtype=torch.float64)
    level = coupling(8).levels[0]
    assert fixed_size(for_crop(level, 2), x) is None
    flow = PixelAutoregressiveFlow((3, 8, 8), sizes=AttentionSizes(width=8, num_blocks=1)).double()
    assert fixed_size(for_crop(flow.levels[0], 2), x) == "PixelTransformer"


@pytest.mark.parametrize("error", [ValueError, RuntimeError, IndexError])
def test_a_level_that_fails_itself_is_named(error: type[Exception]) -> None:
    class Fails(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise error("expected other images")

    assert fixed_size(Fails(), torch.zeros(1, 1, 2, 2)) == "Fails"
