import pytest
import torch
from torch import Tensor, nn

from lightning_flows.errors import ConvergenceError
from lightning_flows.functional.solver import Solver
from lightning_flows.nets import SylvesterFunction
from lightning_flows.testing.jacobian import jacobians
from lightning_flows.transforms import Conv1x1, ConvSylvester, GeneralizedSylvester, LinearCompose, sylvester
from tests.nets.test_masked_conv import reverse_raster
from tests.transforms.cases import SHAPE, perturb


def layer(dtype=torch.float64, *, steep: float = 0.2, **options) -> ConvSylvester:
    found = ConvSylvester(SHAPE, 8, **options).to(dtype)
    return perturb(found, torch.randn(4, *SHAPE, dtype=dtype), noise=steep)


def plain(transform: ConvSylvester) -> GeneralizedSylvester:
    """The layer with a function that has no direct solver."""
    function = nn.Module()
    function.bind = transform.function.bind  # type: ignore[assignment]
    return GeneralizedSylvester(transform.basis, function).eval()


class OriginalNet(nn.Module):
    """t₁, a₁, t₂, a₂ that make f(y) = R₂ tanh(R₁ y + b), with upper triangular R₁ and R₂ on the channels."""

    def __init__(self, r1: Tensor, r2: Tensor, b: Tensor, *, gamma: float) -> None:
        super().__init__()
        self.r1, self.r2, self.b, self.gamma = r1, r2, b, gamma

    def forward(self, y: Tensor) -> tuple[Tensor, ...]:
        def mix(matrix: Tensor, x: Tensor) -> Tensor:
            return torch.einsum("ij,bjhw->bihw", matrix, x)

        def diagonal(matrix: Tensor) -> Tensor:
            return matrix.diagonal()[None, :, None, None].expand_as(y)

        b = self.b[:, None, None]
        h = torch.tanh(mix(self.r1, y) + b)
        a1, a2 = torch.atanh(diagonal(self.r1)), torch.atanh(diagonal(self.r2) / self.gamma)
        return mix(self.r1.triu(1), y) + b, a1, mix(self.r2.triu(1), h), a2


@pytest.mark.parametrize("gamma", [0.5, 0.99])
def test_original_sylvester_flow_is_a_special_case(gamma):
    """Theorem 3: z = x + Qᵀ R₂ tanh(R₁ Q x + b), log|det| by Sylvester's identity and by brute force."""
    channels = 5
    q = torch.linalg.qr(torch.randn(channels, channels, dtype=torch.float64)).Q
    r1, r2 = (torch.randn(channels, channels, dtype=torch.float64).triu() for _ in range(2))
    r1.diagonal().copy_(0.95 * torch.tanh(r1.diagonal()))
    r2.diagonal().copy_(0.95 * gamma * torch.tanh(r2.diagonal()))
    b = torch.randn(channels, dtype=torch.float64)

    def original(x: Tensor) -> Tensor:
        flat = x.flatten(1)
        return (flat + torch.tanh(flat @ q.T @ r1.T + b) @ r2.T @ q).reshape(x.shape)

    basis = Conv1x1(channels).double()
    basis.weight.data.copy_(q)
    general = GeneralizedSylvester(basis, SylvesterFunction(OriginalNet(r1, r2, b, gamma=gamma), gamma=gamma))
    x = torch.randn(4, channels, 1, 1, dtype=torch.float64)
    z, log_det = general(x)
    torch.testing.assert_close(z, original(x), rtol=0, atol=1e-12)
    torch.testing.assert_close(log_det, torch.linalg.slogdet(jacobians(original, x)).logabsdet, rtol=0, atol=1e-10)
    h = torch.tanh(x.flatten(1) @ q.T @ r1.T + b)
    identity = torch.log1p((1 - h.square()) * r1.diagonal() * r2.diagonal()).sum(1)
    torch.testing.assert_close(log_det, identity, rtol=0, atol=1e-10)
    torch.testing.assert_close(general.inverse(original(x))[0], x, rtol=0, atol=1e-11)


def test_function_is_autoregressive_with_the_diagonal_it_returns():
    function = layer(steep=0.5).function
    y = 2 * torch.randn(4, *SHAPE, dtype=torch.float64)
    matrix = jacobians(lambda value: function(value)[0], y)
    assert not torch.triu(reverse_raster(matrix, SHAPE[0]), 1).any()
    diagonal = function(y)[1]
    torch.testing.assert_close(diagonal.flatten(1), matrix.diagonal(dim1=1, dim2=2), rtol=0, atol=1e-12)
    assert diagonal.abs().max() < function.gamma
    assert (function(y)[0] - y).abs().max() > 0.1


@pytest.mark.parametrize("kind", [layer, plain])
@torch.no_grad()
def test_each_sample_stops_separately(kind):
    transform = layer(steep=0.5) if kind is layer else plain(layer(steep=0.5))
    z = torch.randn(6, *SHAPE, dtype=torch.float64) * torch.tensor([0, 1e-3, 1, 3, 10, 300.0])[:, None, None, None]
    x, log_det, ((iterations, residual),) = transform.inverse_reported(z)
    assert len(set(iterations.tolist())) > 1
    assert residual.max() <= 8 * torch.finfo(z.dtype).eps
    for i in range(6):
        alone, alone_log_det, (report,) = transform.inverse_reported(z[i : i + 1])
        assert report.iterations.item() == iterations[i]
        torch.testing.assert_close(alone[0], x[i], rtol=1e-13, atol=1e-12)
        torch.testing.assert_close(alone_log_det[0], log_det[i], rtol=0, atol=1e-11)


@torch.no_grad()
def test_iterations_are_bounded_and_counted():
    """A sample may take exactly ``max_iter`` iterations; with one fewer the error states the residual."""
    transform = plain(layer(steep=0.5))
    z = torch.randn(4, *SHAPE, dtype=torch.float64)
    x, _, (report,) = transform.inverse_reported(z)
    needed = int(report.iterations.max())
    assert needed >= 2
    transform.max_iter = needed
    torch.testing.assert_close(transform.inverse(z)[0], x, rtol=0, atol=0)
    transform.max_iter = needed - 1
    with pytest.raises(
        ConvergenceError, match=f"within {needed - 1} iterations: it has a residual of .* of 4 samples"
    ) as error:
        transform.inverse(z)
    assert 8 * torch.finfo(z.dtype).eps < error.value.residual < 1


@pytest.mark.parametrize("direct", [True, False])
@torch.no_grad()
def test_looser_tolerance_needs_fewer_iterations(direct):
    transform = layer() if direct else plain(layer())
    z, loose, exact = torch.randn(4, *SHAPE, dtype=torch.float64), Solver(1e-3), Solver()
    x, other = transform.decode(z, None, exact), transform.decode(z, None, loose)
    assert loose.reports[0].iterations.sum() < exact.reports[0].iterations.sum()
    assert 0 < (x - other).abs().max() < 1e-2
    assert torch.equal(transform.inverse(z)[0], x)


@pytest.mark.parametrize("mode", ["autocast", "reduced"])
@torch.no_grad()
def test_reduced_precision_is_inverted_by_the_function_itself(mode, monkeypatch):
    """A direct solver would round differently from the forward map."""
    transform = layer(torch.float32)
    z = torch.randn(2, *SHAPE)
    expected = transform.inverse(z)[0]
    monkeypatch.setattr(SylvesterFunction, "bind_with_solver", None)
    if mode == "reduced":
        monkeypatch.setattr(sylvester, "is_reduced", lambda kind: kind == "cpu")
    with torch.autocast("cpu", enabled=mode == "autocast"):
        found = transform.inverse(z)[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=0.5 if mode == "autocast" else 1e-4)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@torch.no_grad()
def test_a_value_that_is_not_finite_raises(value):
    transform = layer()
    z = torch.randn(3, *SHAPE, dtype=torch.float64)
    z[1, 0, 0, 0] = value
    with pytest.raises(ConvergenceError, match="1 of 3 samples"):
        transform.inverse(z)


@pytest.mark.parametrize("scale", [1.0, 5.0])
@torch.no_grad()
def test_round_trip_of_a_wide_layer_in_float32(scale):
    shape = (12, 16, 16)
    transform = ConvSylvester(shape, 96)
    x = 3 * torch.randn(4, *shape)
    for parameter in transform.function.parameters():
        parameter.mul_(scale).add_(0.02 * scale * torch.randn_like(parameter))
    for _ in range(20):
        transform(x)
    z, log_det = transform.eval()(x)
    back, inverse_log_det = transform.inverse(z)
    assert (z - x).abs().max() > 0.1
    assert (back - x).abs().max() <= 1e-5 * x.abs().max()
    torch.testing.assert_close(inverse_log_det, -log_det, rtol=1e-5, atol=1e-3)
    expected, expected_log_det = transform.double()(x.double())
    assert (z - expected).abs().max() <= 1e-5 * x.abs().max()
    torch.testing.assert_close(log_det.double(), expected_log_det, rtol=1e-5, atol=1e-3)


def test_gradient_of_the_inverse_twice():
    """The hook of the implicit gradient survives a second backward, and no gradient stays in the layer."""
    transform = layer()
    z = torch.randn(2, *SHAPE, dtype=torch.float64, requires_grad=True)
    x, log_det = transform.inverse(z)
    loss = x.sin().sum() + log_det.sum()
    (first,) = torch.autograd.grad(loss, z, retain_graph=True)
    (second,) = torch.autograd.grad(loss, z)
    assert torch.equal(first, second)
    jacobian = jacobians(lambda value: transform(value)[0], x.detach())
    (along,) = torch.autograd.grad(transform.inverse(z)[0].sum(), z)
    ones = torch.ones(2, 24, 1, dtype=torch.float64)
    expected = torch.linalg.solve(jacobian.transpose(1, 2), ones).reshape(z.shape)
    torch.testing.assert_close(along, expected, rtol=0, atol=1e-10)


@torch.no_grad()
def test_starts_near_the_identity():
    x = torch.randn(2, 12, 8, 8)
    z, log_det = ConvSylvester((12, 8, 8), 32)(x)
    assert (z - x).abs().max() < 1
    assert log_det.abs().max() < 1


class Steep(nn.Module):
    """t₂ of the first dimension has slope 300 in the second, whose round-off it amplifies; the rest is constant."""

    def forward(self, y):
        ones = torch.ones_like(y)
        return 0 * y, ones, 0.3 * torch.sin(1e3 * y.flip(1)) * torch.tensor([1.0, 0.0]), ones


def test_round_off_ends_the_iteration_where_f_is_steep():
    layer = GeneralizedSylvester(LinearCompose([]), SylvesterFunction(Steep()))
    v = torch.randn(256, 2)
    *_, (report,) = layer.inverse_reported(v)
    eps = torch.finfo(torch.float32).eps
    assert 2 * eps < report.residual.max() <= 1000 * eps  # the target is out of reach, and nothing is raised
    assert report.iterations.max() < 50
