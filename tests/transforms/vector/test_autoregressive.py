import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from lightning_flows.errors import UsageError
from lightning_flows.testing.jacobian import jacobians
from lightning_flows.transforms import InverseAutoregressive, MaskedAutoregressive, Permutation, Reversal
from tests.transforms.cases import perturb


def draw(size: int = 4) -> torch.Tensor:
    return torch.randn(6, size, dtype=torch.float64)


@pytest.mark.parametrize("kind", [MaskedAutoregressive, InverseAutoregressive])
@pytest.mark.parametrize("reverse", [True, False])
def test_values_depend_on_those_before_them(kind, reverse):
    layer, x = kind(4, 9, reverse=reverse).double(), draw()
    perturb(layer, x, noise=0.5)
    matrix = jacobians(lambda x: layer(x)[0], x)
    matrix = matrix.flip(1, 2) if reverse else matrix
    assert not torch.triu(matrix, 1).any()
    assert (matrix.abs().amax(0) > 0).sum() == 10  # all others


@torch.no_grad()
def test_formula_of_the_gate():
    layer, x = InverseAutoregressive(4, 5).double(), draw()
    perturb(layer, x, noise=0.5)
    mean, argument = layer.net(x)
    gate = 1 / (1 + torch.exp(-argument - 1))
    torch.testing.assert_close(layer(x), (gate * x + (1 - gate) * mean, gate.log().sum(1)), rtol=0, atol=1e-13)


@torch.no_grad()
def test_an_affine_layer_starts_near_the_identity_and_a_mixture_near_a_normal():
    x = draw() / 2
    for value_map, limit in (("affine", 0.5), ("mixture", 0.6), ("spline", 0.6)):
        z, log_det = MaskedAutoregressive(4, 16, value_map=value_map).double()(x)
        assert (z - x).abs().max() < limit
        assert log_det.abs().max() < 4 * limit


@torch.no_grad()
def test_the_inverse_of_many_steep_values_is_exact():
    """Each value is decoded from exact ones before it: no intermediate value is arbitrary, as in an iteration."""
    layer, x = InverseAutoregressive(30, 60).double(), draw(30)
    perturb(layer, x, noise=0.3)
    z = layer(x)[0]
    torch.testing.assert_close(layer(layer.inverse(z)[0])[0], z, rtol=0, atol=1e-8)


def test_permutations():
    x = torch.arange(4.0)[None]
    assert Permutation([2, 0, 3, 1])(x)[0].tolist() == [[2.0, 0.0, 3.0, 1.0]]
    assert Permutation([2, 0, 3, 1]).inverse(x)[0].tolist() == [[1.0, 3.0, 0.0, 2.0]]
    assert Reversal(4)(x)[0].tolist() == [[3.0, 2.0, 1.0, 0.0]]


def test_a_state_dict_restores_a_permutation_of_the_same_size() -> None:
    layer = Permutation([0, 1, 2, 3])
    layer.load_state_dict(Permutation([2, 0, 3, 1]).state_dict())
    assert layer(torch.arange(4.0)[None])[0].tolist() == [[2.0, 0.0, 3.0, 1.0]]
    with pytest.raises(RuntimeError, match="Missing key"):
        layer.load_state_dict({})


@pytest.mark.parametrize("decay", [0.9, 0.999])
def test_averages_of_weights_and_buffers_keep_a_permutation(decay: float) -> None:
    modules = nn.ModuleList([Permutation(range(50)), nn.Linear(1, 1)])  # nothing to average is an error in torch
    averaged = AveragedModel(modules, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
    for _ in range(3):
        averaged.update_parameters(modules)
    x = torch.randn(2, 50)
    assert torch.equal(averaged.module[0](x)[0], x)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MaskedAutoregressive(0, 4), "expected size of at least 1; got 0"),
        (
            lambda: MaskedAutoregressive(2, 4, value_map="cubic"),
            "expected a map among affine, mixture, spline, and at least one",
        ),
        (lambda: MaskedAutoregressive(2, 4, value_map="mixture", components=0), "at least one component; got mixture"),
        (lambda: Permutation([0, 2]), r"expected a permutation of 0 to 1; got \[0, 2\]"),
        (lambda: Permutation([]), "expected a permutation"),
        (lambda: Reversal(0), "expected size of at least 1; got 0"),
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(UsageError, match=message):
        make()
