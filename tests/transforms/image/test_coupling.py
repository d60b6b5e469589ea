import pytest
import torch
from torch import nn

from lightning_flows.nets import ConvNet, DenseNet, DenseSizes
from lightning_flows.transforms import Affine, AffineCoupling, Squeeze
from tests.transforms.cases import perturb


@pytest.mark.parametrize("channels", [2, 3, 4, 5])
def test_starts_as_the_identity_and_keeps_the_first_half(channels):
    transform = AffineCoupling(channels, DenseNet(channels // 2, 2 * (channels - channels // 2), DenseSizes(8, 2)))
    x = torch.randn(2, channels, 3, 4)
    z, log_det = transform(x)
    assert torch.equal(z, x)
    assert not log_det.any()
    perturb(transform, x)
    moved = (transform(x)[0] != x).flatten(2).any(2).all(0)
    assert moved.tolist() == [False] * (channels // 2) + [True] * (channels - channels // 2)


class Constant(nn.Module):
    """A net with huge output."""

    def forward(self, x, context=None):
        return torch.full((len(x), 4, *x.shape[2:]), 1e6, dtype=x.dtype)


@pytest.mark.parametrize("bound", [0.5, 2.0])
def test_log_scale_is_bounded(bound):
    _, log_det = AffineCoupling(4, Constant(), bound=bound)(torch.randn(2, 4, 3, 3))
    torch.testing.assert_close(log_det, torch.full((2,), 18 * bound))


def test_context_changes_the_map():
    transform = AffineCoupling(4, ConvNet(2, 4, hidden_channels=8, context_channels=3))
    x, context = torch.randn(2, 4, 3, 3), torch.randn(2, 3, 3, 3)
    perturb(transform, x, context)
    assert (transform(x, context)[0] - transform(x, 2 * context)[0]).abs().max() > 1e-3


def test_squeeze_order():
    """Channel 4c + 2·(row parity) + (column parity)."""
    x = torch.arange(2 * 3 * 4 * 6.0).reshape(2, 3, 4, 6)
    z, _ = Squeeze()(x)
    for c in range(3):
        for row in range(2):
            for column in range(2):
                assert torch.equal(z[:, 4 * c + 2 * row + column], x[:, c, row::2, column::2])


def test_affine_formula():
    z, log_det = Affine(shift=128.0, scale=256.0)(torch.tensor([[[[0.0, 256.0]]]]))
    assert z.flatten().tolist() == [-0.5, 0.5]
    assert log_det.item() == pytest.approx(-2 * 8 * 0.6931471805599453)


def test_scales_and_shifts_alternate_in_the_nets_channels():
    """z₂ = x₂ e^ℓ + t with ℓ = b tanh(k a), for a net with known output."""
    a, t = torch.tensor([0.3, -2.0]), torch.tensor([5.0, -7.0])
    given = torch.stack([a, t], 1).flatten()[None, :, None, None]

    class Constant(torch.nn.Module):
        def forward(self, x, context=None):
            return given.expand(len(x), -1, *x.shape[2:])

    layer, x = AffineCoupling(4, Constant(), bound=1.5, slope=0.25), torch.randn(3, 4, 2, 5)
    log_scale = 1.5 * torch.tanh(0.25 * a)
    z, log_det = layer(x)
    expected = x[:, 2:] * log_scale.exp()[:, None, None] + t[:, None, None]
    torch.testing.assert_close(z, torch.cat([x[:, :2], expected], 1))
    torch.testing.assert_close(log_det, (10 * log_scale.sum()).expand(3))


def test_a_net_without_a_context():
    transform = AffineCoupling(4, nn.Sequential(nn.Conv2d(2, 4, 3, padding=1)))
    x = torch.randn(2, 4, 5, 3)
    z, log_det = transform(x)
    torch.testing.assert_close(transform.inverse(z)[0], x)
    assert log_det.all()
    with torch.autocast("cpu", torch.bfloat16):  # the net returns bfloat16
        assert transform(x)[1].dtype == torch.float32
