import pytest
import torch
from torch import Tensor, nn

from lightning_flows.errors import UsageError
from lightning_flows.transforms import LinearExponential
from lightning_flows.transforms.vector import linear_exponential
from tests.dense import matrix_of, norm
from tests.transforms.cases import perturb


def layer(size: int = 6, **options) -> LinearExponential:
    found = LinearExponential(size, **options).double()
    with torch.no_grad():
        found.linear.weight.normal_()
    return perturb(found, torch.randn(2, size, dtype=torch.float64))


@pytest.mark.parametrize("max_norm", [0.5, 0.95, 6.0])
@pytest.mark.parametrize("largest", [128, 0])
@torch.no_grad()
def test_it_is_the_exponential_of_the_normalized_matrix(max_norm, largest, monkeypatch):
    monkeypatch.setattr(linear_exponential, "LARGEST", largest)
    transform = layer(max_norm=max_norm)
    matrix = transform.linear.matrix()
    assert norm(matrix) <= max_norm * 1.001
    operator = transform.operator()
    for apply, expected in ((operator.matmul, matrix), (operator.solve, -matrix)):
        torch.testing.assert_close(matrix_of(apply, (6,)), torch.linalg.matrix_exp(expected), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(operator.logabsdet(matrix), matrix.trace(), rtol=0, atol=1e-15)


@torch.no_grad()
def test_matrices_and_series_meet_where_one_replaces_the_other(monkeypatch):
    transform, x = layer(40), torch.randn(3, 40, dtype=torch.float64)
    expected = transform(x)
    monkeypatch.setattr(linear_exponential, "LARGEST", 39)
    calls: list[int] = []
    series = linear_exponential.linear_exponential
    monkeypatch.setattr(linear_exponential, "linear_exponential", lambda *a, **k: calls.append(1) or series(*a, **k))
    torch.testing.assert_close(transform(x), expected, rtol=0, atol=1e-13)
    assert calls == [1]


class Shift(nn.Module):
    """M x = c (x₂, …, x_D, 0) along the last axis, of any event; ``bind`` evaluates c once."""

    def __init__(self) -> None:
        super().__init__()
        self.raw, self.calls = nn.Parameter(torch.tensor(0.5)), 0
        self.norm_bound = 1.0

    def bind(self, *, update: bool = False):
        self.calls += 1
        scale = torch.tanh(self.raw)
        return lambda v: scale * torch.nn.functional.pad(v[..., 1:], (0, 1))

    def trace(self) -> Tensor:
        return torch.zeros_like(self.raw)


@torch.no_grad()
def test_any_linear_map_of_any_event():
    linear = Shift().double()
    transform = LinearExponential(None, linear=linear)
    x = torch.randn(2, 3, 4, dtype=torch.float64)
    scale = torch.tanh(linear.raw)
    matrix = torch.linalg.matrix_exp(scale * torch.eye(4, dtype=torch.float64).roll(1, 1).triu(1))
    z, log_det = transform(x)
    torch.testing.assert_close(z, x @ matrix.T, rtol=0, atol=1e-13)
    torch.testing.assert_close(transform.inverse(z)[0], x, rtol=0, atol=1e-13)
    assert not log_det.any()
    assert linear.calls == 2


class Scaled(torch.nn.Module):
    """x ↦ scale · x, whose norm changes with its weight."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(0.1, dtype=torch.float64))

    @property
    def norm_bound(self) -> float:
        return self.scale.abs().item()

    def forward(self, v: Tensor) -> Tensor:
        return self.scale * v

    def trace(self) -> Tensor:
        return 3 * self.scale


@torch.no_grad()
def test_the_norm_of_a_map_may_change():
    transform, x = LinearExponential(3, linear=(linear := Scaled())), torch.ones(1, 3, dtype=torch.float64)
    linear.scale.fill_(5.0)
    torch.testing.assert_close(transform(x)[0], x * linear.scale.exp(), rtol=1e-12, atol=0)


def test_starts_near_the_identity():
    x = torch.randn(5, 64)
    assert (LinearExponential(64)(x)[0] - x).abs().max() < 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LinearExponential(0), "expected size of at least 1; got 0"),
        (lambda: LinearExponential(None), "expected a size or a linear map; got neither"),
        (lambda: LinearExponential(3, max_norm=0.0), "expected a positive, finite max_norm; got 0.0"),
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(UsageError, match=message):
        make()
