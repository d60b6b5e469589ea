"""Layers with the interfaces of other libraries, correct and faulty, without these libraries."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import AffineTransform, ExpTransform

from lightning_flows.errors import UsageError
from lightning_flows.testing import CheckError, adapt, check_transform
from lightning_flows.testing.adapters import FrEIALayer, PairLayer, ZukoLayer

SKIP = {"dtypes", "meta"}
"""Checks that a transformation of torch.distributions cannot pass, since it is not a module."""


class Pair(nn.Module):
    """normflows and nflows: z = e^s x; a log-determinant of a single number."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.scale, self.factor = nn.Parameter(torch.tensor(0.5)), factor

    def forward(self, inputs: Tensor, context: Any = None) -> tuple[Tensor, Tensor]:
        return inputs * self.scale.exp(), self.factor * 3 * self.scale

    def inverse(self, inputs: Tensor, context: Any = None) -> tuple[Tensor, Tensor]:
        return inputs * (-self.scale).exp(), -3 * self.scale


class Listed(nn.Module):
    """FrEIA: lists of tensors, rev and jac; z = e^s x with s of shape (1, 3)."""

    def __init__(self, sign: int = -1) -> None:
        super().__init__()
        self.s, self.sign = nn.Parameter(torch.tensor([[0.5, -0.2, 0.1]])), sign

    def forward(self, x: Any, rev: bool = False, jac: bool = True) -> Any:
        total = self.s.sum().unsqueeze(0)
        return [x[0] * (-self.s if rev else self.s).exp()], self.sign * total if rev else total


class Conditioned(nn.Module):
    """FrEIA with a condition: z = x + c."""

    def forward(self, x: Any, c: Any = None, rev: bool = False, jac: bool = True) -> Any:
        return (x[0] - c[0] if rev else x[0] + c[0],), 0.0


class Lazy(nn.Module):
    """zuko: a module that returns a transformation when it is called with the context."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([0.5, 2.0, 1.5]))

    @property
    def inv(self) -> Any:
        raise AssertionError("not needed")

    def forward(self, c: Tensor | None = None) -> Any:
        return AffineTransform(0.0 if c is None else c, self.scale)


def data() -> Tensor:
    return torch.randn(4, 3, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("layer", "kind"),
    [(Pair(), PairLayer), (Listed(), FrEIALayer), (Lazy(), ZukoLayer), (ExpTransform(), ZukoLayer)],
    ids=["pair", "listed", "lazy", "exp"],
)
def test_correct_layers_pass(layer: Any, kind: type) -> None:
    adapted = adapt(layer)
    assert type(adapted) is kind
    assert "log_det" in check_transform(adapted, data(), skip=set() if isinstance(layer, nn.Module) else SKIP)


@pytest.mark.parametrize("layer", [Conditioned(), Lazy()], ids=["listed", "lazy"])
def test_contexts_are_passed_on(layer: nn.Module) -> None:
    context = torch.randn(4, 3)
    assert check_transform(adapt(layer), data(), context)
    z, _ = adapt(layer)(data(), context)
    assert not torch.equal(z, adapt(layer)(data(), 2 * context)[0])


def test_faults_are_found_through_adapters() -> None:
    with pytest.raises(
        CheckError, match=r"log_det: log_det of forward is 2\.0 times the Jacobian's: 3\.0 instead of 1"
    ):
        check_transform(adapt(Pair(factor=2.0)), data())
    with pytest.raises(CheckError, match=r"log_det of inverse has the wrong sign: 0\.4 instead of -0\.4"):
        check_transform(adapt(Listed(sign=1)), data())


def test_other_layers_are_refused() -> None:
    with pytest.raises(UsageError, match="Linear has none of the interfaces of normflows, nflows, zuko and FrEIA"):
        adapt(nn.Linear(2, 2))
