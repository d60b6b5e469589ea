"""Perturbed modules are initialized, and their power iterations have converged."""

import torch

from lightning_flows import Flow
from lightning_flows.nets import SpectralNorm
from lightning_flows.testing import perturb
from lightning_flows.transforms import Compose, Invert, Squeeze
from lightning_flows.transforms.image import ConvExponential


def test_power_iterations_below_an_inverse_converge_whatever_its_shape() -> None:
    x = torch.randn(3, 1, 4, 4)
    for build in (lambda level: level, lambda level: Flow(level, event_shape=(1, 4, 4))):
        inner = ConvExponential((4, 2, 2))
        module = perturb(build(Compose([Squeeze(), Invert(inner)])), x, noise=0.5)
        assert not module.training
        before = inner.spectral_norm.vector.clone()
        inner.train()(torch.randn(3, 4, 2, 2))
        assert isinstance(inner.spectral_norm, SpectralNorm)
        torch.testing.assert_close(inner.spectral_norm.vector, before, atol=1e-3, rtol=0)
