import math

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_flows.errors import UsageError
from lightning_flows.functional.value_maps import (
    LOG_SCALE_BOUND,
    apply_map,
    initial_params,
    invert_map,
    num_map_parameters,
)

KINDS = pytest.mark.parametrize("kind", ["affine", "mixture", "spline"])


def draw(kind: str, num: int = 40) -> tuple[Tensor, Tensor]:
    """Values, and parameters for each of them."""
    y = 2 * torch.randn(num, dtype=torch.float64)
    noise = torch.randn(num, num_map_parameters(kind, 3), dtype=torch.float64)
    return y, initial_params(kind, 3).double() + 0.3 * noise


@KINDS
def test_the_maps_are_inverses(kind):
    y, values = draw(kind)
    z, log_derivative = apply_map(kind, y, values)
    back, inverse_log_derivative = invert_map(kind, z, values)
    torch.testing.assert_close(back, y, rtol=0, atol=1e-9)
    torch.testing.assert_close(inverse_log_derivative, -log_derivative, rtol=0, atol=1e-8)
    assert (z - y).abs().min() > 1e-4


@KINDS
@pytest.mark.parametrize("function", [apply_map, invert_map])
def test_log_derivative_is_the_derivative(kind, function):
    y, values = draw(kind)
    z, log_derivative = function(kind, y.requires_grad_(), values)
    (slope,) = torch.autograd.grad(z.sum(), y)
    torch.testing.assert_close(log_derivative.exp(), slope, rtol=1e-9, atol=0)


def test_the_affine_map_s_scale_is_bounded():
    values = torch.tensor([[-1e6, 3], [-1, 0], [1e-9, 0], [1e6, 0]], dtype=torch.float64)
    z, log_scale = apply_map("affine", torch.ones(4, dtype=torch.float64), values)
    expected = [-LOG_SCALE_BOUND, -LOG_SCALE_BOUND * math.tanh(1 / LOG_SCALE_BOUND), 1e-9, LOG_SCALE_BOUND]
    assert log_scale.tolist() == pytest.approx(expected, rel=1e-12)
    assert z.tolist() == pytest.approx([math.exp(a) + b for a, b in zip(expected, (3, 0, 0, 0), strict=True)])


def test_numbers_of_components_are_any_integers() -> None:
    assert num_map_parameters("spline", np.int64(8)) == num_map_parameters("spline", 8)
    with pytest.raises(UsageError, match=r"at least one component; got spline and 2\.5"):
        num_map_parameters("spline", 2.5)  # type: ignore[arg-type]
