"""Standardization: constant moments, set once, in the units of the data."""

import math

import pytest
import torch

from lightning_flows.errors import ShapeError, UsageError
from lightning_flows.transforms import Compose, Standardize
from lightning_flows.transforms.vector.standardize import standardize_by


def test_moments_are_buffers_that_are_set_once() -> None:
    module = Compose([Standardize(2), Standardize(2)])
    assert not list(module.parameters())
    mean, std = torch.tensor([1.0, -2.0]).double(), torch.tensor([2.0, 0.5]).double()
    standardize_by(module, mean, std)
    standardize_by(module, mean + 1, std + 1)
    for layer in module.transforms:
        assert (layer.mean.tolist(), layer.std.tolist(), layer.mean.dtype) == ([1, -2], [2, 0.5], torch.float32)
    loaded = Compose([Standardize(2), Standardize(2)])
    loaded.load_state_dict(module.state_dict())
    standardize_by(loaded, mean + 1, std + 1)
    assert loaded.transforms[0].mean.tolist() == [1, -2]


def test_a_large_mean_costs_no_precision() -> None:
    layer = Standardize(1)
    layer.set_moments(torch.tensor([2.0**24]), torch.tensor([1.0]))
    x = 2.0**24 + torch.tensor([[-3.0], [2.0]])
    z, log_det = layer(x)
    assert z.tolist() == [[-3.0], [2.0]]
    assert log_det.tolist() == [0, 0]
    assert torch.equal(layer.inverse(z)[0], x)


@pytest.mark.parametrize("std", [0.0, -1.0, math.nan, math.inf])
def test_wrong_moments(std: float) -> None:
    layer = Standardize(2)
    with pytest.raises(UsageError, match="standard deviations above 0: leave out constant columns"):
        layer.set_moments(torch.zeros(2), torch.tensor([1.0, std]))
    with pytest.raises(ShapeError, match=r"expected moments of shape \(2,\); got \(3,\)"):
        layer.set_moments(torch.zeros(3), torch.ones(3))
    assert not layer.is_set
    assert layer.std.tolist() == [1, 1]
