import pytest
import torch

from lightning_flows.transforms import Planar


@pytest.mark.parametrize("size", [0.01, 1.0, 30.0])
@torch.no_grad()
def test_round_trip_with_large_and_small_vectors(size):
    """The equation along w has a slope that varies from nearly 0 to 1000."""
    layer = Planar(4, amortized=True).double()
    context = size * torch.randn(200, 9, dtype=torch.float64)
    x = 3 * torch.randn(200, 4, dtype=torch.float64)
    z, log_det = layer(x, context)
    back, inverse_log_det = layer.inverse(z, context)
    assert log_det.isfinite().all()
    forth, _ = layer(back, context)
    torch.testing.assert_close(forth, z, rtol=1e-11, atol=1e-11)
    clear = log_det > -10  # elsewhere, the map is flat, and round-off of z is amplified
    assert clear.sum() > 150
    torch.testing.assert_close(back[clear], x[clear], rtol=0, atol=1e-7)
    torch.testing.assert_close(inverse_log_det[clear], -log_det[clear], rtol=0, atol=1e-6)


@torch.no_grad()
def test_u_is_changed_along_w_only_and_stays_invertible():
    layer = Planar(3).double()
    layer.values.u.copy_(torch.tensor([-5.0, 2.0, 0.0]))
    layer.values.w.copy_(torch.tensor([2.0, 0.0, 0.0]))
    x = torch.randn(50, 3, dtype=torch.float64)
    z, log_det = layer(x)
    slope = torch.nn.functional.softplus(torch.tensor(-10.0, dtype=torch.float64)) - 1
    h = torch.tanh(2 * x[:, 0])
    torch.testing.assert_close(z[:, 1], x[:, 1] + 2 * h, rtol=0, atol=1e-13)
    torch.testing.assert_close(z[:, 0], x[:, 0] + slope / 2 * h, rtol=0, atol=1e-13)
    torch.testing.assert_close(log_det, (1 + slope * (1 - h * h)).log(), rtol=0, atol=1e-10)
    order = x[:, 0].argsort()
    assert (z[order, 0].diff() > 0).all()
