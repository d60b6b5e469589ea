import pytest
import torch
from torch import nn

from lightning_flows.distributions import Distribution, standard_normal_log_prob
from lightning_flows.errors import ShapeError
from lightning_flows.flows import Flow
from lightning_flows.nets import DenseNet, DenseSizes
from lightning_flows.transforms import AffineCoupling, Compose, Sigmoid, Standardize, Transform
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


class Uniform(Distribution):
    """The uniform density on the unit cube."""

    def log_prob(self, z, context=None):
        return torch.where(((z >= 0) & (z <= 1)).all(1), 0.0, -torch.inf)

    def sample(self, num, context=None, *, temperature=1.0, generator=None):
        return torch.rand(num, *self.event_shape, generator=generator)


def test_a_flow_without_parameters() -> None:
    flow = Flow(Sigmoid(), Uniform((2,)))
    assert flow.dtype == torch.get_default_dtype()
    x = flow.sample(3)
    assert flow(x).isfinite().all()
    torch.testing.assert_close(flow.decode(flow.encode(x, dtype=torch.float64)), x.double())
    assert Flow(Standardize(2), Uniform((2,))).double().dtype == torch.float64  # of its buffers


def test_events_have_a_dimension() -> None:
    with pytest.raises(ShapeError, match=r"at least one dimension; got \(\): reshape values to \(B, 1\)"):
        Flow(Sigmoid(), event_shape=())


class Labeled(Transform):
    """Shifts by an embedding of the label in a tuple."""

    def __init__(self) -> None:
        super().__init__((2,))
        self.shift = nn.Embedding(3, 2)

    def forward(self, x, context=None):
        return x + self.shift(context[0]) * context[1], 0.0

    def inverse(self, z, context=None):
        return z - self.shift(context[0]) * context[1], 0.0


def test_only_floating_tensors_of_a_context_are_converted() -> None:
    flow, x = Flow(Labeled(), event_shape=(2,)), torch.randn(3, 2)
    context = torch.arange(3), torch.ones(1)
    (z,) = flow.encode(x, context, dtype=torch.float64)
    assert z.dtype == torch.float64
    torch.testing.assert_close(z.float(), flow.encode(x, context)[0])
