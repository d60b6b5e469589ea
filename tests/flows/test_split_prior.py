import pytest
import torch

from lightning_flows.distributions import standard_normal_log_prob
from lightning_flows.flows import SplitPrior
from lightning_flows.nets import DenseNet
from lightning_flows.transforms import AffineCoupling
from tests.transforms.cases import perturb


@pytest.mark.parametrize("channels", [2, 4, 5])
@torch.no_grad()
def test_is_a_gaussian_given_the_kept_half(channels):
    kept_channels = channels // 2
    net = DenseNet(kept_channels, 2 * (channels - kept_channels), width=6, depth=2, growth=3)
    split = SplitPrior(AffineCoupling(channels, net)).double()
    x = torch.randn(5, channels, 2, 3, dtype=torch.float64)
    perturb(split, x)
    kept, noise, log_det = split(x)
    assert torch.equal(kept, x[:, :kept_channels])
    assert (kept.shape[1:], noise.shape[1:]) == split.split_shape((channels, 2, 3))

    log_scale, shift = split.coupling._condition(kept, None)
    conditional = torch.distributions.Normal(-shift * torch.exp(-log_scale), torch.exp(-log_scale))
    expected = conditional.log_prob(x[:, kept_channels:]).flatten(1).sum(1)
    torch.testing.assert_close(standard_normal_log_prob(noise) + log_det, expected, rtol=0, atol=1e-10)

    back, inverse_log_det = split.inverse(kept, noise)
    torch.testing.assert_close(back, x, rtol=0, atol=1e-12)
    torch.testing.assert_close(inverse_log_det, -log_det, rtol=0, atol=1e-12)
