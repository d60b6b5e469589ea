import pytest
import torch
from torch import Tensor, nn

from lightning_flows.nets import SylvesterFunction


class Given(nn.Module):
    """A net whose outputs are given."""

    def __init__(self, outputs: tuple[Tensor, ...]) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, y: Tensor) -> tuple[Tensor, ...]:
        return self.outputs


def apply(y: Tensor, *outputs: Tensor) -> tuple[Tensor, Tensor]:
    return SylvesterFunction(Given(outputs), gamma=0.7)(y)


def draw(dtype=torch.float64) -> list[Tensor]:
    return [torch.randn(2, 3, 2, 2, dtype=dtype, requires_grad=True) for _ in range(5)]


def test_formula():
    y, t1, a1, t2, a2 = values = draw()
    f, diagonal = apply(*values)
    s1, s2 = torch.tanh(a1), torch.tanh(a2)
    expected = 0.7 * s2 * torch.tanh(y * s1 + t1) + t2
    torch.testing.assert_close(f, expected, rtol=0, atol=1e-14)
    slope = torch.autograd.grad(expected.sum(), y)[0]
    torch.testing.assert_close(diagonal, slope, rtol=0, atol=1e-14)


def test_gradients_of_any_order():
    assert torch.autograd.gradcheck(apply, draw(), fast_mode=True)
    assert torch.autograd.gradgradcheck(apply, draw(), fast_mode=True)


def test_keeps_only_its_arguments():
    values = draw()
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        apply(*values)
    assert {x.data_ptr() for x in kept} <= {x.data_ptr() for x in values}


def test_compiles():
    torch.compiler.reset()
    values = draw()
    function = torch.compile(apply, fullgraph=True, backend="aot_eager")
    for one, other in zip(function(*values), apply(*values), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-14)
    grads = [torch.autograd.grad(sum(x.square().sum() for x in f(*values)), values) for f in (function, apply)]
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_gamma_below_one():
    with pytest.raises(ValueError, match=r"expected gamma between 0 and 1; got 1\.0"):
        SylvesterFunction(nn.Identity(), gamma=1.0)
