import pytest
import torch

from lightning_flows.distributions import standard_normal_log_prob
from lightning_flows.flows import Flow
from lightning_flows.nets import DenseNet, DenseSizes
from lightning_flows.transforms import AffineCoupling, Compose
from tests.transforms.cases import perturb


@pytest.mark.parametrize("channels", [2, 4, 5])
@torch.no_grad()
def test_noise_that_a_coupling_factors_out_is_a_gaussian_given_the_rest(channels: int) -> None:
    kept = channels // 2
    net = DenseNet(kept, 2 * (channels - kept), DenseSizes(6, 2, 3))
    flow = Flow([AffineCoupling(channels, net), Compose([])], event_shape=(channels, 2, 3)).double()
    x = torch.randn(5, channels, 2, 3, dtype=torch.float64)
    perturb(flow, x)
    noise, last = flow.encode(x)
    assert torch.equal(last, x[:, :kept])
    scale = (flow.decode([noise + 1, last]) - flow.decode([noise, last]))[:, kept:]
    mean = flow.decode([torch.zeros_like(noise), last])[:, kept:]
    expected = torch.distributions.Normal(mean, scale).log_prob(x[:, kept:]).flatten(1).sum(1)
    log_det = flow.log_prob_terms(x).log_det
    torch.testing.assert_close(standard_normal_log_prob(noise) + log_det, expected, rtol=0, atol=1e-9)
