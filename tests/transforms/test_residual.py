import math

import pytest
import torch
from torch import Tensor, nn

from lightning_flows.errors import ConvergenceError
from lightning_flows.functional.philox import streams
from lightning_flows.functional.probes import probes_by_item
from lightning_flows.nets import LipschitzConvNet
from lightning_flows.testing.jacobian import log_abs_dets
from lightning_flows.transforms import ResidualBlock, residual
from tests import golden
from tests.dense import conv_matrix, norm
from tests.golden import Entry
from tests.transforms.cases import perturb

SHAPE = (2, 4, 4)


def block(dtype=torch.float64, **options) -> ResidualBlock:
    """A block with the same parameters for any options."""
    torch.manual_seed(0)
    net = perturb(LipschitzConvNet(SHAPE, 8).to(dtype), torch.randn(4, *SHAPE, dtype=dtype), noise=0.5)
    return ResidualBlock(net, **{"exact_dims": 0, **options}).eval()


@pytest.mark.parametrize("gradient", ["neumann", "autograd"])
def test_estimate_in_training_is_unbiased(gradient):
    """Value and gradient, over 10,000 draws, within three standard errors of the exact ones."""
    layer = block(gradient=gradient)
    x = torch.randn(1, *SHAPE, dtype=torch.float64)
    exact = block(exact_dims=64)
    exact_value = exact(x)[1]
    parameter = exact.function[2].weight
    (exact_gradient,) = torch.autograd.grad(exact_value.sum(), parameter)
    layer.train()
    layer.function.eval()  # the same kernels in each draw
    num, batch = 10_000, 50
    values, gradients = [], []
    many = x.expand(batch, *SHAPE).clone()
    for _ in range(num // batch):
        value = layer(many)[1]
        values.append(value.detach())
        (gradient_of_mean,) = torch.autograd.grad(value.mean(), layer.function[2].weight)
        gradients.append(gradient_of_mean.flatten())
    values = torch.stack(values).mean(1)  # draws of a batch share their number of terms
    error = values.std() / len(values) ** 0.5
    assert abs(values.mean() - exact_value).item() < 3 * error.item()
    assert error < 0.05 * abs(exact_value).item() + 0.02
    along = torch.stack(gradients) @ torch.nn.functional.normalize(exact_gradient.flatten(), dim=0)
    error = along.std() / len(along) ** 0.5
    assert abs(along.mean() - exact_gradient.norm()).item() < 3 * error.item()
    assert error < 0.1 * exact_gradient.norm()


@torch.no_grad()
def test_roulette_weights_are_inverse_probabilities():
    layer = block(num_exact_terms=3, stop_probability=0.4)
    drawn = [layer._roulette() for _ in range(20_000)]
    assert all(weights[:3] == [1.0] * 3 and len(weights) >= 4 for weights in drawn)
    for k in range(4, 9):
        mean = sum(weights[k - 1] for weights in drawn if len(weights) >= k) / len(drawn)
        assert mean == pytest.approx(1, abs=4 * (0.6 ** -(k - 4)) ** 0.5 / 20_000**0.5 + 1e-9)


class Linear(nn.Module):
    """g(x) = Ax on events of two values, whose powers are known."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.tensor([[0.5, -0.3], [0.4, 0.2]], dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return (x.flatten(1) @ self.matrix.T).reshape(x.shape)


def probes_of(seed: int, num: int) -> Tensor:
    item = streams(seed, "probes", [0])
    numbers = [item._replace(draws=torch.tensor([k])).uniform((2,)).flatten() for k in range(num)]
    return torch.where(torch.stack(numbers) < 0.5, 1.0, -1.0).double()


def series(matrix: Tensor, probe: Tensor, weights: list[float]) -> list[Tensor]:
    """The terms of the log-determinant for one probe."""
    powers = [torch.linalg.matrix_power(matrix, k) for k in range(1, len(weights) + 1)]
    return [
        (-1) ** (k + 1) * w / k * (probe @ p @ probe) for k, (w, p) in enumerate(zip(weights, powers, strict=True), 1)
    ]


@pytest.mark.parametrize("terms", [1, 2, 3, 6])
@pytest.mark.parametrize("seed", range(6))
def test_evaluation_is_the_series_for_the_probes_of_its_seed(terms, seed):
    num = 7
    layer = ResidualBlock(Linear(), exact_dims=0, eval_terms=terms, eval_probes=num, probe_seed=seed).eval()
    _, log_det, (report,) = layer.forward_reported(torch.randn(4, 2, 1, 1, dtype=torch.float64))
    found = torch.stack(
        [torch.stack(series(layer.function.matrix.detach(), v, [1.0] * terms)) for v in probes_of(seed, num)]
    )
    torch.testing.assert_close(log_det.detach(), found.sum(1).mean().expand(4), rtol=1e-12, atol=0)
    assert report.num_terms == terms
    torch.testing.assert_close(report.error, (found.sum(1).std() / num**0.5).expand(4), rtol=1e-9, atol=1e-15)
    torch.testing.assert_close(report.remainder, 19 * found[:, -1].mean().abs().expand(4), rtol=1e-12, atol=1e-15)


def test_different_seeds_have_different_probes():
    signs = {tuple(probes_of(seed, 20).flatten().tolist()) for seed in range(20)}
    assert len(signs) == 20


@pytest.mark.parametrize("gradient", ["neumann", "autograd"])
@pytest.mark.parametrize("weights", [[1.0], [1.0, 1.0, 2.0], [1.0, 1.0, 1.0, 2.0, 4.0]])
def test_value_and_gradient_in_training_are_those_of_the_weighted_series(gradient, weights, monkeypatch):
    layer = ResidualBlock(Linear(), exact_dims=0, gradient=gradient).train()
    probe = torch.tensor([1.0, -1.0], dtype=torch.float64)
    monkeypatch.setattr(layer, "_roulette", lambda: weights)
    monkeypatch.setattr(residual, "_signs", lambda x, *args: probe.reshape(1, 2, 1, 1).expand_as(x))
    matrix = layer.function.matrix
    log_det = layer(torch.randn(3, 2, 1, 1, dtype=torch.float64))[1]
    expected = sum(series(matrix, probe, weights))
    torch.testing.assert_close(log_det.detach(), expected.detach().expand(3), rtol=1e-12, atol=0)
    (found,) = torch.autograd.grad(log_det.mean(), matrix)
    if gradient == "autograd":
        (slope,) = torch.autograd.grad(expected, matrix)
    else:
        # sᵀ dA v, with s the weighted Neumann series of (I + Aᵀ)⁻¹ v
        s = probe + sum(
            (-1) ** k * w * torch.linalg.matrix_power(matrix.T, k) @ probe for k, w in enumerate(weights, 1)
        )
        slope = torch.outer(s, probe).detach()
    torch.testing.assert_close(found, slope, rtol=1e-12, atol=1e-15)


def test_the_exact_determinant_is_used_up_to_exact_dims():
    for exact_dims, exact in ((1, False), (2, True), (3, True)):
        layer = ResidualBlock(Linear(), exact_dims=exact_dims).eval()
        *_, (report,) = layer.forward_reported(torch.randn(1, 2, 1, 1, dtype=torch.float64))
        assert (report.num_terms == 0) is exact


@pytest.mark.parametrize("options", [{"stop_probability": 0.3, "num_exact_terms": 1}, {"stop_probability": 0.7}])
def test_each_term_counts_by_the_inverse_of_its_probability(options):
    layer = ResidualBlock(Linear(), **options)
    p, exact = layer.stop_probability, layer.num_exact_terms
    for _ in range(50):
        weights = layer._roulette()
        assert weights == pytest.approx([1.0] * exact + [(1 - p) ** -n for n in range(len(weights) - exact)])


@torch.no_grad()
def test_evaluation_is_deterministic_and_reports_its_error():
    layer, exact = block(eval_terms=30, eval_probes=60), block(exact_dims=64)
    x = torch.randn(5, *SHAPE, dtype=torch.float64)
    log_det = layer(x)[1]
    assert torch.equal(layer(x)[1], log_det)
    alone = layer(x[2:3])[1]
    torch.testing.assert_close(alone, log_det[2:3], rtol=0, atol=1e-12)
    *_, (report,) = layer.forward_reported(x)
    assert report.num_terms == 30
    expected = exact(x)[1]
    torch.testing.assert_close(expected, log_abs_dets(lambda value: layer(value)[0], x), rtol=0, atol=1e-9)
    assert ((log_det - expected).abs() < 4 * report.error).all()
    assert (report.error < 0.1).all()


@torch.no_grad()
def test_probes_by_item_average_out():
    """The mean of 400 items with one probe each, whose error is not that of one probe."""
    layer, exact = block(eval_terms=30, eval_probes=1), block(exact_dims=64)
    x = torch.randn(1, *SHAPE, dtype=torch.float64).expand(400, *SHAPE)
    with probes_by_item(range(400)):
        log_det = layer(x)[1]
        torch.testing.assert_close(layer.inverse(layer(x)[0])[1], -log_det, rtol=0, atol=1e-9)
    with probes_by_item(range(399, 0, -1)):
        torch.testing.assert_close(layer(x[1:])[1].flip(0), log_det[1:], rtol=0, atol=1e-12)
    expected = exact(x[:1])[1]
    assert log_det.std() > 0.05
    assert (log_det.mean() - expected).abs() < 3 * log_det.std() / 20


@torch.no_grad()
def test_compiled_estimates_have_the_probes_of_their_items():
    layer = block(eval_terms=3, eval_probes=1)
    x = torch.randn(2, *SHAPE, dtype=torch.float64)
    torch.compiler.reset()
    compiled = torch.compile(layer, backend="eager")
    for numbers in ([3, 7], [5, 9]):
        with probes_by_item(numbers):
            torch.testing.assert_close(compiled(x), layer(x))
    torch.testing.assert_close(compiled(x), layer(x))


@torch.no_grad()
def test_works_where_lightning_evaluates():
    layer = block(torch.float32)
    x = torch.randn(2, *SHAPE)
    expected = layer(x)
    with torch.inference_mode():
        found = layer(x.clone())
        back = layer.inverse(found[0])[0]
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(back, x, rtol=0, atol=1e-5)
    assert not found[0].requires_grad


def test_neumann_gradient_saves_fewer_tensors_than_the_series():
    """Saved tensors do not grow with the number of terms."""
    saved = {}
    for gradient in ("neumann", "autograd"):
        for terms in (5, 20):
            layer = block(gradient=gradient, eval_terms=terms, eval_probes=1)
            x = torch.randn(1, *SHAPE, dtype=torch.float64, requires_grad=True)
            log_det = layer(x)[1]
            seen, todo = set(), [log_det.grad_fn]
            while todo:
                node = todo.pop()
                if node is not None and node not in seen:
                    seen.add(node)
                    todo += [following for following, _ in node.next_functions]
            saved[gradient, terms] = len(seen)
    assert saved["neumann", 5] == saved["neumann", 20]
    assert saved["autograd", 20] > 2 * saved["autograd", 5]


@torch.no_grad()
def test_lipschitz_constant_of_the_net_is_below_one():
    layer = block()
    constants = [norm(conv_matrix(conv.kernel(), SHAPE[1:])) for conv in list(layer.function)[::2]]
    assert all(0.9 < constant < 0.98 + 1e-3 for constant in constants)
    x, y = (3 * torch.randn(200, *SHAPE, dtype=torch.float64) for _ in range(2))
    ratio = (layer.function(x) - layer.function(y)).flatten(1).norm(dim=1) / (x - y).flatten(1).norm(dim=1)
    assert ratio.max() < 1


def test_lipschitz_constant_stays_below_one_through_training():
    """The product of converged norms, at the settings of the paper, and at four times its learning rate."""
    for learning_rate, max_norm in ((1e-3, 0.98), (4e-3, 0.95)):
        torch.manual_seed(0)
        layer = ResidualBlock(LipschitzConvNet(SHAPE, 8, max_norm=max_norm))
        optimizer = torch.optim.Adam(layer.parameters(), lr=learning_rate, betas=(0.9, 0.99))
        for step in range(100):
            z, log_det = layer(torch.randn(8, *SHAPE))
            optimizer.zero_grad()
            (z.square().sum() / 2 - 3 * log_det.sum()).backward()
            used = [conv.weight.detach().clone() for conv in list(layer.function)[::2]]
            optimizer.step()
            if step % 20 == 19:
                kernels = [conv.kernel().detach() for conv in list(layer.eval().function)[::2]]
                layer.train()
                assert math.prod(norm(conv_matrix(kernel, SHAPE[1:])) for kernel in kernels) < 1
        assert any(
            (conv.weight - old).abs().max() > 0 for conv, old in zip(list(layer.function)[::2], used, strict=True)
        )


@torch.no_grad()
def test_weights_do_not_change_in_eval_mode():
    layer = block()
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    x = torch.randn(3, *SHAPE, dtype=torch.float64)
    layer.inverse(layer(x)[0])
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())


@torch.no_grad()
def test_an_expansion_is_an_error():
    layer = ResidualBlock(torch.nn.Linear(3, 3, bias=False), max_iter=50).double()
    layer.function.weight.copy_(2 * torch.eye(3))
    with pytest.raises(ConvergenceError, match="the inverse of a residual block did not converge within 50"):
        layer.inverse(torch.ones(2, 3, dtype=torch.float64))


def test_wrong_arguments():
    with pytest.raises(ValueError, match=r"max_norm between 0 and 1; got 1\.5"):
        LipschitzConvNet(SHAPE, 4, max_norm=1.5)
    with pytest.raises(ValueError, match="expected eval_probes of at least 1; got 0"):
        ResidualBlock(LipschitzConvNet(SHAPE, 4), eval_probes=0)


def test_parity_with_the_authors():
    tensors, config = golden.load("iresblock")
    layer = ResidualBlock(LipschitzConvNet((4, 4, 4), config["n_channels"], max_norm=config["coeff"]))
    entries = []
    for i, vector in ((0, "v"), (2, "v"), (4, "u")):
        theirs, ours = f"iresblock_module.nnet.{i}", f"function.{i}"
        entries += [Entry(f"{theirs}.{kind}", f"{ours}.{kind}") for kind in ("weight", "bias")]
        entries.append(Entry(f"{theirs}.{vector}", f"{ours}.spectral_norm.vector"))
    entries += [Entry(f"iresblock_module.nnet.{i}.beta", f"function.{i}.beta") for i in (1, 3)]
    golden.load_parameters(layer, tensors, entries)
    layer.eval()
    for i in (0, 2, 4):
        expected = tensors[f"effective/iresblock_module.nnet.{i}.weight"]
        torch.testing.assert_close(layer.function[i].kernel(), expected, rtol=0, atol=1e-5)
    z, log_det = layer(tensors["x"])
    torch.testing.assert_close(z, tensors["z"], rtol=0, atol=1e-5)
    torch.testing.assert_close(log_det.double(), tensors["ldj_exact64"], rtol=0, atol=1e-4)
    x, _ = layer.inverse(tensors["z"])
    torch.testing.assert_close(x, tensors["recon_tight"], rtol=0, atol=1e-5)
    torch.testing.assert_close(x, tensors["x"], rtol=0, atol=1e-5)
    z, log_det = layer.double()(tensors["x"].double())
    torch.testing.assert_close(z, tensors["z64"], rtol=0, atol=1e-6)
    torch.testing.assert_close(log_det, tensors["ldj_exact64"], rtol=0, atol=1e-6)
    draws = tensors["ldj_stochastic"].double()
    assert ((draws.mean(0) - log_det).abs() < 3.5 * draws.std(0) / len(draws) ** 0.5).all()
