import pytest
import torch

from lightning_flows.transforms import AutoregressiveConv
from tests.dense import matrix_of

SHAPE = (3, 4, 5)


def layer(channels: int = 3) -> AutoregressiveConv:
    conv = AutoregressiveConv(channels).double()
    with torch.no_grad():
        conv.weight.add_(0.3 * torch.randn_like(conv.weight))
    return conv


@torch.no_grad()
def test_matrix_is_triangular_in_raster_order():
    conv = layer()
    matrix = matrix_of(lambda x: conv(x)[0], SHAPE).reshape(3, 20, 3, 20).permute(1, 0, 3, 2).reshape(60, 60)
    assert torch.equal(matrix, matrix.tril())
    assert matrix.diagonal().abs().min() > 0
    # a pixel (a row has five) sees itself, the one left of it, above, and above left
    pixel = matrix.reshape(20, 3, 20, 3).abs().amax((1, 3))[18]
    assert set(pixel.nonzero().flatten().tolist()) == {18, 17, 13, 12}


def test_reverse_is_the_same_for_rotated_images():
    conv, twin = layer(), AutoregressiveConv(3, reverse=True).double()
    twin.load_state_dict(conv.state_dict())
    x = torch.randn(2, *SHAPE, dtype=torch.float64)
    expected, log_det = conv(x.flip(2, 3))
    found, twin_log_det = twin(x)
    torch.testing.assert_close(found, expected.flip(2, 3), rtol=0, atol=1e-12)
    torch.testing.assert_close(twin_log_det, log_det)
    torch.testing.assert_close(twin.inverse(found)[0], x, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("shape", [(3, 4, 5), (3, 5, 4), (2, 1, 6), (2, 6, 1), (1, 7, 7)])
@torch.no_grad()
def test_wavefront_solves_the_triangular_system(shape):
    conv = layer(shape[0])
    z = torch.randn(2, *shape, dtype=torch.float64)
    expected = torch.linalg.solve(matrix_of(lambda x: conv(x)[0], shape), z.flatten(1).T).T.reshape(z.shape)
    torch.testing.assert_close(conv.inverse(z)[0], expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("signs", [(-1, 1, 1), (-1, -1, 1), (-1, -1, -1)])
@torch.no_grad()
def test_log_determinant_is_right_for_any_signs_of_the_diagonal(signs):
    conv = layer()
    diagonal = conv.weight[:, :, 1, 1].diagonal()
    diagonal.copy_(diagonal.abs() * torch.tensor(signs))
    x = torch.randn(2, *SHAPE, dtype=torch.float64)
    expected = torch.linalg.slogdet(matrix_of(lambda x: conv(x)[0], SHAPE)).logabsdet
    z, log_det = conv(x)
    torch.testing.assert_close(log_det, expected.expand(2), rtol=0, atol=1e-9)
    back, inverse_log_det = conv.inverse(z)
    torch.testing.assert_close(back, x, rtol=0, atol=1e-8)
    torch.testing.assert_close(inverse_log_det, -expected.expand(2), rtol=0, atol=1e-9)


@torch.no_grad()
def test_inverse_in_float32_at_the_papers_size():
    conv = AutoregressiveConv(12)
    x = torch.randn(4, 12, 16, 16)
    back = conv.inverse(conv(x)[0])[0]
    assert back.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(back, x, rtol=0, atol=1e-5)


def test_inverse_has_second_derivatives():
    conv = layer(2)
    z = torch.randn(2, 2, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda value, _: conv.inverse(value)[0], (z, conv.weight))
