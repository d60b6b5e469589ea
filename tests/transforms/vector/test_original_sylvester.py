"""Figure 1: theorem 3, and planar layers as Sylvester layers with one column, in float64 within 1e-12."""

import pytest
import torch
from torch import Tensor

from lightning_flows.errors import UsageError
from lightning_flows.nets import TriangularSylvesterFunction
from lightning_flows.testing.jacobian import jacobians, log_abs_dets
from lightning_flows.transforms import GeneralizedSylvester, OriginalSylvester, Planar, VectorHouseholder
from lightning_flows.transforms.linear import LinearOperator, LinearTransform
from tests.transforms.cases import CASES, build, draw, perturb

EXACT = {"rtol": 0, "atol": 1e-12}


class Matrix(LinearTransform):
    """z = Wx for an orthogonal matrix W."""

    def __init__(self, matrix: Tensor) -> None:
        super().__init__((len(matrix),))
        self.matrix = matrix

    def operator(self, *, update: bool = False) -> LinearOperator:
        return LinearOperator(lambda x: x @ self.matrix.T, lambda z: z @ self.matrix, lambda x: 0.0)


def dense(layer: OriginalSylvester, x: Tensor) -> tuple[Tensor, Tensor]:
    """z and the log-determinant from the formula of the source, with full matrices of a layer with own parameters."""
    matrix, d1, d2, bias = layer.function.values(None)
    r1 = matrix.triu(1) + torch.diag(torch.tanh(d1))
    r2 = matrix.T.triu(1) + torch.diag(torch.tanh(d2))
    q = layer.basis.operator_for(None).solve(torch.eye(len(bias), dtype=x.dtype)).T
    h = torch.tanh(x @ q @ r2.T + bias)
    return x + h @ r1.T @ q.T, (1 + (1 - h * h) * r1.diagonal() * r2.diagonal()).log().sum(1)


@pytest.mark.parametrize("basis", ["orthogonal", "householder", "triangular"])
@torch.no_grad()
def test_formula(basis):
    layer, x = build(CASES[f"vector_sylvester_{basis}"]), draw(CASES[f"vector_sylvester_{basis}"])[0]
    for found, expected in zip(layer(x), dense(layer, x), strict=True):
        torch.testing.assert_close(found, expected, **EXACT)


@pytest.mark.parametrize("size", [1, 5, 16])
@torch.no_grad()
def test_the_generalized_layer_with_an_orthogonal_basis_is_the_original_one(size):
    """Theorem 3: W = Q and f(y) = R₁ tanh(R₂ y + b)."""
    original = OriginalSylvester(size, columns=size).double()
    x = torch.randn(20, size, dtype=torch.float64)
    perturb(original, x, noise=0.7)
    q = original.basis.columns()
    generalized = GeneralizedSylvester(Matrix(q.T), original.function)
    for found, first, second in zip(generalized(x), original(x), dense(original, x), strict=True):
        torch.testing.assert_close(found, first, **EXACT)
        torch.testing.assert_close(found, second, **EXACT)
    torch.testing.assert_close(generalized(x)[1], log_abs_dets(lambda x: dense(original, x)[0], x), rtol=0, atol=1e-11)
    assert (original(x)[0] - x).abs().max() > 0.1


@torch.no_grad()
def test_a_planar_layer_is_a_sylvester_layer_with_one_column():
    """For û along w: Q = w/‖w‖, R₂ = ‖w‖ and R₁ = wᵀû/‖w‖; the norms are at most 1 as diagonals are."""
    x, w, b = torch.randn(20, 6, dtype=torch.float64), 0.3 * torch.randn(6, dtype=torch.float64), 0.4
    norm = w.norm()
    assert norm < 1
    planar = Planar(6).double()
    planar.values.w.copy_(w)
    planar.values.u.copy_(1.7 * w)
    planar.values.b.fill_(b)
    slope = torch.nn.functional.softplus(1.7 * norm**2) - 1
    sylvester = OriginalSylvester(6, columns=1).double()
    sylvester.basis.values.matrix.copy_(3 * w[:, None])
    sylvester.function.values.diagonal1.fill_(torch.atanh(slope / norm))
    sylvester.function.values.diagonal2.fill_(torch.atanh(norm))
    sylvester.function.values.bias.fill_(b)
    for found, expected in zip(planar(x), sylvester(x), strict=True):
        torch.testing.assert_close(found, expected, **EXACT)
    for found, expected in zip(planar.inverse(x), sylvester.inverse(x), strict=True):
        torch.testing.assert_close(found, expected, **EXACT)
    assert (planar(x)[0] - x).abs().max() > 0.05


@pytest.mark.parametrize("basis", ["orthogonal", "householder", "triangular"])
@torch.no_grad()
def test_amortized_parameters_equal_own_ones(basis):
    own = OriginalSylvester(4, basis=basis, columns=3, num_reflections=2).double()
    x = torch.randn(5, 4, dtype=torch.float64)
    perturb(own, x, noise=0.5)
    amortized = OriginalSylvester(4, basis=basis, columns=3, num_reflections=2, amortized=True).double()
    context = torch.cat([parameter.flatten() for parameter in (*own.function.parameters(), *own.basis.parameters())])
    assert amortized.num_parameters == len(context)
    for found, expected in zip(amortized(x, context.expand(5, -1)), own(x), strict=True):
        torch.testing.assert_close(found, expected, **EXACT)


@torch.no_grad()
def test_only_directions_of_the_columns_are_moved():
    layer = OriginalSylvester(5, columns=2).double()
    x = torch.randn(4, 5, dtype=torch.float64)
    perturb(layer, x, noise=0.5)
    q = layer.basis.columns()
    torch.testing.assert_close(q.T @ q, torch.eye(2, dtype=torch.float64), **EXACT)
    moved = layer(x)[0] - x
    torch.testing.assert_close(moved @ q @ q.T, moved, **EXACT)
    assert moved.abs().max() > 0.1


def test_the_function_is_triangular_with_the_diagonal_it_returns():
    function = TriangularSylvesterFunction(4).double()
    y = torch.randn(6, 4, dtype=torch.float64)
    perturb(function, y, noise=1.0)
    jacobian = jacobians(lambda y: function(y)[0], y)
    assert not torch.tril(jacobian, -1).any()
    torch.testing.assert_close(function(y)[1], jacobian.diagonal(dim1=1, dim2=2), **EXACT)


@torch.no_grad()
def test_samples_stop_separately_with_their_own_parameters():
    """Each sample's parameters follow it when others leave the iteration."""
    case = CASES["vector_sylvester_orthogonal_amortized"]
    layer, (x, context) = build(case), draw(case, 6)
    z = x * torch.tensor([0, 1e-3, 1, 3, 10, 300.0])[:, None]
    found, log_det, (report,) = layer.inverse_reported(z, context)
    assert len(set(report.iterations.tolist())) > 1
    for i in range(6):
        alone, alone_log_det = layer.inverse(z[i : i + 1], context[i : i + 1])
        torch.testing.assert_close(alone[0], found[i], rtol=1e-13, atol=1e-12)
        torch.testing.assert_close(alone_log_det[0], log_det[i], **EXACT)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: OriginalSylvester(4, columns=5), "expected at most 4 columns for vectors of 4 values; got 5"),
        (lambda: OriginalSylvester(4, columns=0), "expected columns of at least 1; got 0"),
        (lambda: OriginalSylvester(0, basis="householder"), "expected size of at least 1; got 0"),
        (lambda: OriginalSylvester(4, basis="householder", num_reflections=0), "num_reflections of at least 1; got 0"),
        (lambda: OriginalSylvester(4, basis="qr"), "expected a basis among orthogonal, householder, triangular"),
        (lambda: VectorHouseholder(0), "expected size of at least 1; got 0"),
        (lambda: Planar(0), "expected size of at least 1; got 0"),
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(UsageError, match=message):
        make()
