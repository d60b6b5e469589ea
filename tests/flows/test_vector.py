"""Flows over vectors: which values depend on which, and what is refused."""

import pytest
import torch

from lightning_flows.errors import ShapeError, UsageError
from lightning_flows.flows import AutoregressiveFlow, SylvesterVectorFlow
from tests.flows.cases import family

KINDS = pytest.mark.parametrize("kind", [AutoregressiveFlow, SylvesterVectorFlow])


def dependence(name: str) -> torch.Tensor:
    """Jacobian of the latent, averaged over points: row i, column j is ∂z_i/∂x_j in absolute value."""
    flow, x = family(name)
    jacobian = torch.autograd.functional.jacobian(lambda value: flow.encode(value)[0].sum(0), x)
    return jacobian.abs().mean(1)


@pytest.mark.parametrize("name", ["autoregressive", "autoregressive_affine", "sylvester_vector"])
def test_all_latents_depend_on_all_values(name: str) -> None:
    """Two layers suffice, because their orders alternate or their bases differ."""
    assert (dependence(name) > 1e-6).all()


def test_one_autoregressive_layer_keeps_the_order() -> None:
    torch.manual_seed(0)
    flow = AutoregressiveFlow((3,), num_layers=1, width=8).double().eval()
    jacobian = torch.autograd.functional.jacobian(lambda x: flow.encode(x[None])[0][0], torch.randn(3).double())
    assert torch.equal(jacobian.triu(1), torch.zeros(3, 3).double())
    assert (jacobian.tril() != 0).sum() == 6


@KINDS
def test_other_events_are_refused(kind: type) -> None:
    with pytest.raises(ShapeError, match=r"expected vectors of shape \(D,\); got \(3, 8, 8\): use data of vectors"):
        kind((3, 8, 8))
    with pytest.raises(UsageError, match="expected num_layers of at least 1; got 0"):
        kind((2,), num_layers=0)
    with pytest.raises(UsageError, match="expected width of at least 1; got 0"):
        kind((2,), width=0)


@pytest.mark.parametrize("kind", [AutoregressiveFlow, SylvesterVectorFlow])
def test_a_context_is_refused(kind: type) -> None:
    with pytest.raises(ShapeError, match=rf"expected no context for {kind.__name__}; got \(2, 3\)"):
        kind((2,), num_layers=1, width=4)(torch.zeros(2, 2), torch.zeros(2, 3))
