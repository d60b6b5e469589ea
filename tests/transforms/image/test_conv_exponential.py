import math

import pytest
import torch

from lightning_flows.nets.spectral_norm import SLACK
from lightning_flows.transforms import ConvExponential
from tests.dense import conv_matrix, matrix_of, norm
from tests.transforms.cases import perturb

SHAPE = (3, 4, 5)


def exponential(shape=SHAPE, *, dtype=torch.float64, **options) -> ConvExponential:
    layer = ConvExponential(shape, **options).to(dtype)
    return perturb(layer, torch.randn(2, *shape, dtype=dtype), noise=0.6)


@pytest.mark.parametrize("max_norm", [0.5, 0.95, 2.0, 4.0])
@pytest.mark.parametrize("kernel_size", [1, 3, 5])
@pytest.mark.parametrize("shape", [(3, 4, 5), (3, 7, 9), (3, 2, 4)])
@torch.no_grad()
def test_equals_the_matrix_exponential(shape, max_norm, kernel_size):
    """Of images that are small for the kernel and others."""
    layer = exponential(shape, max_norm=max_norm, kernel_size=kernel_size)
    matrix = conv_matrix(layer.kernel(), shape[1:])
    assert 0.3 * max_norm < norm(matrix) <= SLACK * max_norm
    expected = torch.linalg.matrix_exp(matrix)
    torch.testing.assert_close(matrix_of(lambda x: layer(x)[0], shape), expected, rtol=0, atol=1e-11)
    torch.testing.assert_close(matrix_of(lambda z: layer.inverse(z)[0], shape), expected.inverse(), rtol=0, atol=1e-11)
    log_det = layer(torch.zeros(2, *shape, dtype=torch.float64))[1]
    torch.testing.assert_close(log_det, matrix.trace().expand(2), rtol=0, atol=1e-11)


@pytest.mark.parametrize("shape", [(12, 16, 16), (48, 8, 8)])
@pytest.mark.parametrize("mode", [True, False], ids=["train", "eval"])
@torch.no_grad()
def test_forward_and_inverse_agree_in_float32(shape, mode):
    layer = exponential(shape, dtype=torch.float32).train(mode)
    x = 10 * torch.randn(8, *shape)
    z, log_det = layer(x)
    back, inverse_log_det = layer.eval().inverse(z)
    if not mode:
        assert (back - x).abs().max() <= 1e-5 * x.abs().max()
        torch.testing.assert_close(inverse_log_det, -log_det)
    expected = layer.double()(x.double())[0]
    assert (layer.float()(x)[0] - expected).abs().max() <= 1e-5 * x.abs().max()


@torch.no_grad()
def test_same_kernel_and_terms_in_training_and_evaluation():
    layer = exponential()
    x = torch.randn(2, *SHAPE, dtype=torch.float64)
    trained = layer.train()(x)
    torch.testing.assert_close(layer.eval()(x), trained, rtol=0, atol=1e-14)  # the step precedes the forward


@torch.no_grad()
def test_fixed_number_of_terms():
    layer = exponential(num_terms=3)
    matrix = conv_matrix(layer.kernel(), SHAPE[1:])
    expected = sum(torch.linalg.matrix_power(matrix, i) / math.factorial(i) for i in range(4))
    torch.testing.assert_close(matrix_of(lambda x: layer(x)[0], SHAPE), expected, rtol=0, atol=1e-13)


def test_starts_near_the_identity():
    x = torch.randn(2, 12, 8, 8)
    z, log_det = ConvExponential((12, 8, 8))(x)
    assert (z - x).abs().max() < 0.6
    assert log_det.abs().max() < 64


SYMMETRIES = {
    "half_turn": (lambda x: x.flip(2, 3), lambda k: k + k.flip(2, 3)),
    "mirror": (lambda x: x.flip(3), lambda k: k + k.flip(3)),
    "transposed": (lambda x: x.transpose(2, 3), lambda k: k + k.transpose(2, 3)),
    "channels": (lambda x: x.roll(1, 1), lambda k: sum(k.roll((i, i), (0, 1)) for i in range(k.shape[0]))),
}


@pytest.mark.parametrize(("symmetry", "symmetrize"), SYMMETRIES.values(), ids=SYMMETRIES.keys())
@torch.no_grad()
def test_is_equivariant_where_the_convolution_is(symmetry, symmetrize):
    """Theorem 1: from [K, M] = 0 follows [K, exp M] = 0."""
    shape = (3, 4, 4)
    layer = exponential(shape, max_norm=1.5)
    x = torch.randn(2, *shape, dtype=torch.float64)
    assert (layer(symmetry(x))[0] - symmetry(layer(x)[0])).abs().max() > 1e-2
    layer.weight.copy_(symmetrize(layer.weight))
    layer.train()
    for _ in range(30):
        layer(x)
    layer.eval()
    torch.testing.assert_close(layer(symmetry(x))[0], symmetry(layer(x)[0]), rtol=0, atol=1e-12)
    torch.testing.assert_close(layer.inverse(symmetry(x))[0], symmetry(layer.inverse(x)[0]), rtol=0, atol=1e-12)
