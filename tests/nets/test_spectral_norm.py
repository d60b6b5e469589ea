import copy

import pytest
import torch
from torch import Tensor, nn

from lightning_flows.functional.advanced import advanced
from lightning_flows.nets import MaskedConv2d, SpectralNorm
from lightning_flows.nets.packing import Packing
from lightning_flows.nets.power_iteration import normalize
from lightning_flows.nets.spectral_norm import SLACK
from lightning_flows.transforms import ConvExponential
from tests.dense import conv_matrix, norm

SIZE = (6, 5)
PLAIN = Packing((3, 3, 3, 3))
LAYERS = {
    "exponential": lambda scale: ConvExponential((5, *SIZE), max_norm=0.95),
    "exponential_5x5": lambda scale: ConvExponential((3, *SIZE), kernel_size=5, max_norm=2.0),
    "exponential_1x1": lambda scale: ConvExponential((5, *SIZE), kernel_size=1),
    "up": lambda scale: conv(3, 20, strict=False, init_scale=scale),
    "down": lambda scale: conv(20, 3, strict=True, init_scale=scale),
    "heads": lambda scale: conv(20, 3, strict=True, heads=4, init_scale=scale),
    "heads_up": lambda scale: conv(3, 7, strict=False, heads=3, init_scale=scale),
    "pointwise": lambda scale: conv(12, 12, kernel_size=1, strict=False, init_scale=scale),
}
TABLE = pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS.keys())


def conv(n_in: int, n_out: int, *, kernel_size: int = 3, **options) -> MaskedConv2d:
    return MaskedConv2d(n_in, n_out, kernel_size=kernel_size, size=SIZE, max_norm=1.5, **options)


def norms(layer: nn.Module) -> list[float]:
    """True norm over the max_norm of each group of the layer's kernel."""
    spectral = layer.spectral_norm
    with torch.no_grad():
        kernels = layer.kernel().chunk(spectral.groups)
    return [norm(conv_matrix(kernel, SIZE, padding(kernel))) / spectral.max_norm for kernel in kernels]


def padding(kernel: Tensor) -> tuple[int, int, int, int]:
    """Zeros around the images of a full or a causal kernel."""
    rows, side = kernel.shape[2], kernel.shape[3] // 2
    return side, side, 0 if rows == side + 1 else side, side


def dense(layer: nn.Module) -> Tensor:
    """The kernel before its normalization."""
    return layer.weight if isinstance(layer, ConvExponential) else layer.dense_weight()


@TABLE
@pytest.mark.parametrize("mode", [True, False], ids=["train", "eval"])
def test_is_normalized_from_the_start(make, mode):
    for scale in (1.0, 10.0):
        layer = make(scale)
        layer.train(mode)
        assert max(norms(layer)) <= SLACK


@TABLE
def test_norm_is_reached_by_large_kernels(make):
    """A kernel of large norm is scaled to the max_norm, not far below."""
    layer = make(1.0)
    layer.weight.data.mul_(100)
    for _ in range(50):
        layer.kernel(update=True)
    assert all(0.99 <= value <= 1.02 for value in norms(layer))


@TABLE
def test_small_kernels_are_unchanged(make):
    layer = make(1.0)
    layer.weight.data.mul_(1e-3)
    raw = dense(layer)
    torch.testing.assert_close(layer.kernel(), raw / (1 + 1e-5), rtol=1e-6, atol=0)


def train(layer: nn.Module, *, rate: float, direction: Tensor | None = None) -> float:
    """Push the kernel for 50 optimizer steps, in a fixed or changing direction; return the largest norm."""
    optimizer = torch.optim.Adam([layer.weight], lr=rate)
    largest = 0.0
    for step in range(50):
        target = torch.randn(layer.packing.shape) if direction is None else direction
        optimizer.zero_grad()
        (layer.kernel(update=True) * target).sum().neg().backward()
        optimizer.step()
        if step % 7 == 0:
            largest = max(largest, *norms(layer))
    return largest


@TABLE
@pytest.mark.parametrize("one_way", [True, False])
def test_the_norm_holds_in_training(make, one_way):
    """At the paper's learning rate, with and without gradient noise."""
    layer = make(1.0).train()
    layer.weight.data.mul_(2 * layer.spectral_norm.max_norm / max(norms(layer)))  # so that the limit is met
    for _ in range(30):
        layer.kernel(update=True)
    assert train(layer, rate=1e-3, direction=torch.randn(layer.packing.shape) if one_way else None) <= SLACK


@TABLE
def test_the_norm_recovers_from_large_steps(make):
    """Steps as large as the kernel outrun a power iteration; a few training forwards later the norm holds again."""
    layer = make(1.0).train()
    assert train(layer, rate=0.1, direction=torch.randn(layer.packing.shape)) <= 2.5
    for _ in range(30):
        layer.kernel(update=True)
    assert max(norms(layer)) <= SLACK


@TABLE
def test_steps_only_in_train_mode_if_requested(make):
    layer = make(1.0)
    layer.weight.data.add_(0.3 * torch.randn_like(layer.weight))
    vector = layer.spectral_norm.vector.clone()

    layer.eval().kernel(update=True)
    assert torch.equal(layer.spectral_norm.vector, vector)
    layer.train().kernel()
    assert torch.equal(layer.spectral_norm.vector, vector)

    kernel = layer.train().kernel(update=True)
    stepped = layer.spectral_norm.vector.clone()
    assert not torch.equal(stepped, vector)
    kernel.sum().backward()  # the step does not invalidate the graph
    layer.eval().kernel()
    assert torch.equal(layer.spectral_norm.vector, stepped)


@TABLE
def test_one_forward_is_one_step_of_the_power_iteration(make):
    layer = make(1.0).double().train()
    layer.weight.data.add_(0.3 * torch.randn_like(layer.weight))
    spectral = layer.spectral_norm
    kernels = dense(layer).detach().chunk(spectral.groups)
    size = SIZE if kernels[0].shape[3] > 1 else (1, 1)
    vectors = spectral.vector.chunk(spectral.groups, dim=1)
    expected = []
    for kernel, vector in zip(kernels, vectors, strict=True):
        matrix = conv_matrix(kernel, size, padding(kernel))
        gram = matrix.T @ matrix if spectral.constants.on_input_side else matrix @ matrix.T
        step = gram @ vector.flatten()
        expected.append((step / step.norm()).reshape(vector.shape))
    layer.kernel(update=True)
    torch.testing.assert_close(spectral.vector, torch.cat(expected, 1), rtol=0, atol=1e-12)


@TABLE
def test_keeps_one_vector_on_the_smaller_side(make):
    layer = make(1.0)
    out_channels, in_channels, _, size = layer.packing.shape
    channels = min(out_channels // layer.spectral_norm.groups, in_channels)
    pixels = 1 if size == 1 else SIZE[0] * SIZE[1]
    assert layer.spectral_norm.vector.numel() == layer.spectral_norm.groups * channels * pixels
    assert set(layer.state_dict()) <= {"weight", "bias", "spectral_norm.vector"}


@TABLE
def test_loads_and_copies(make):
    layer, fresh = make(1.0), make(1.0)
    layer.weight.data.add_(0.3 * torch.randn_like(layer.weight))
    for _ in range(3):
        layer.kernel(update=True)
    fresh.load_state_dict(layer.state_dict())
    twins = [layer, fresh, copy.deepcopy(layer)]
    for mode in (False, True, False):
        kernels = [twin.train(mode).kernel(update=True) for twin in twins]
        assert torch.equal(kernels[0], kernels[1])
        assert torch.equal(kernels[0], kernels[2])


def test_groups_are_normalized_one_by_one():
    layer = conv(8, 3, strict=True, heads=3)
    for part, scale in zip(layer.weight.data.chunk(3), (0.01, 1.0, 100.0), strict=True):
        part.mul_(scale)
    for _ in range(50):
        layer.kernel(update=True)
    raw = dense(layer).chunk(3)
    factors = [(kernel / one).nanmean().item() for kernel, one in zip(layer.kernel().chunk(3), raw, strict=True)]
    sizes = [norm(conv_matrix(kernel, SIZE, layer.padding)) for kernel in raw]
    for factor, size in zip(factors, sizes, strict=True):
        assert factor == pytest.approx(1 / (max(1, size / 1.5) + 1e-5), rel=1e-3)


def test_gradient_flows_through_the_norm():
    """Scaling a kernel far above max_norm has no effect: the gradient has no component along the kernel."""
    kernel = 10 * torch.randn(3, 9, 3, dtype=torch.float64)
    spectral = SpectralNorm(kernel, SIZE, packing=PLAIN, max_norm=0.5, warmup_steps=3000).double().eval()
    kernel.requires_grad_()
    (spectral(kernel) * torch.randn_like(kernel)).sum().backward()
    along = (kernel.grad * kernel).sum() / kernel.norm()
    assert along.abs() < 1e-3 * kernel.grad.norm()
    assert torch.autograd.gradcheck(spectral, kernel, fast_mode=True)


def test_a_kernel_of_zeros_recovers():
    kernel = torch.zeros(3, 9, 3)
    spectral = SpectralNorm(kernel, SIZE, packing=PLAIN, max_norm=0.5)
    assert torch.equal(spectral(kernel, update=True), kernel)
    assert spectral.vector.norm().item() == pytest.approx(1)
    kernel = torch.randn(3, 9, 3)
    for _ in range(50):
        spectral(kernel, update=True)
    assert norm(conv_matrix(PLAIN.unpack(spectral(kernel)), SIZE)) == pytest.approx(0.5, rel=0.05)


@TABLE
def test_averaged_weights_keep_their_norm(make):
    """Also where the averaged vector is zero; nothing is stored."""
    layer, other = (make(1.0) for _ in range(2))
    for each in (layer, other):
        each.weight.data.mul_(100)  # far above the limit
        for _ in range(30):
            each.kernel(update=True)
    layer.weight.data.add_(other.weight).div_(2)
    vectors = layer.spectral_norm.vector, other.spectral_norm.vector
    for vector in ((vectors[0] + vectors[1]) / 2, torch.zeros_like(vectors[0]), 1e-3 * vectors[1]):
        layer.spectral_norm.vector = vector
        assert max(norms(layer.eval())) <= SLACK
        assert layer.spectral_norm.vector is vector


def test_gradients_of_any_order():
    for layer in (conv(3, 4, strict=False), conv(4, 2, strict=True, heads=2), conv(5, 5, kernel_size=1, strict=False)):
        layer.double().weight.data.mul_(10)
        norm, mask = layer.spectral_norm, layer.mask
        vector = norm.vector

        def kernel(weight: Tensor, norm=norm, mask=mask, vector=vector) -> Tensor:
            return normalize(weight, mask, vector, norm.constants)

        weight = layer.weight.detach().requires_grad_()
        assert torch.autograd.gradcheck(kernel, weight, fast_mode=True)
        assert torch.autograd.gradgradcheck(kernel, weight, fast_mode=True)


def test_wrong_arguments():
    with pytest.raises(ValueError, match="expected a positive, finite max_norm; got -1"):
        SpectralNorm(torch.ones(1, 1, 1), (2, 2), packing=Packing((1, 1, 1, 1)), max_norm=-1)


@TABLE
def test_kernels_of_training_are_those_of_evaluation(make):
    """A vector that follows the weights is used as it is; one that does not is replaced."""
    layer = make(1.0).train()
    layer.weight.data.mul_(100)  # far above the limit
    for _ in range(30):
        layer.kernel(update=True)
    norm = layer.spectral_norm
    norm.adopted = True
    with advanced():  # so that it does not step
        torch.testing.assert_close(layer.train().kernel(update=True), layer.eval().kernel(), rtol=1e-5, atol=1e-7)
        norm.vector = norm.constants.unit(*[torch.randn_like(norm.vector)] * 2)
        assert (layer.train().kernel(update=True) / layer.eval().kernel()).nanmean() > 1.02
