import pytest
import torch

from lightning_flows.transforms import Householder
from lightning_flows.transforms.image.conv1x1 import householder_matrix
from tests.dense import matrix_of


@pytest.mark.parametrize("channels", [1, 2, 5, 12])
@pytest.mark.parametrize("num_reflections", [1, 2, 5, 12, 30])
def test_equals_the_product_of_reflections(channels, num_reflections):
    vectors = torch.randn(num_reflections, channels, dtype=torch.float64)
    identity = expected = torch.eye(channels, dtype=torch.float64)
    for vector in vectors:
        expected = expected @ (identity - 2 * torch.outer(vector, vector) / vector.dot(vector))
    found = householder_matrix(vectors)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(found @ found.T, identity, rtol=0, atol=1e-12)
    assert torch.linalg.det(found).item() == pytest.approx((-1) ** num_reflections)


def test_acts_on_the_channels_of_each_pixel():
    layer = Householder(3).double().requires_grad_(False)
    expected = torch.kron(householder_matrix(layer.vectors), torch.eye(4, dtype=torch.float64))
    torch.testing.assert_close(matrix_of(lambda x: layer(x)[0], (3, 2, 2)), expected, rtol=0, atol=1e-14)


def test_scale_of_a_vector_does_not_matter():
    vectors = torch.randn(4, 5, dtype=torch.float64)
    scaled = vectors * torch.tensor([1e-3, 1.0, 50.0, -2.0], dtype=torch.float64)[:, None]
    torch.testing.assert_close(householder_matrix(scaled), householder_matrix(vectors), rtol=0, atol=1e-12)


def test_is_orthogonal_in_float32():
    for channels in (12, 48, 192):
        matrix = householder_matrix(torch.randn(channels, channels))
        assert (matrix @ matrix.T - torch.eye(channels)).abs().max() < 1e-5


@pytest.mark.parametrize("num_reflections", [1, 3, 6])
def test_derivatives_of_first_and_second_order(num_reflections):
    vectors = torch.randn(num_reflections, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(householder_matrix, vectors)
    assert torch.autograd.gradgradcheck(householder_matrix, vectors)


def test_vmap_over_several_products():
    vectors = torch.randn(2, 3, 4)
    expected = torch.stack([householder_matrix(each) for each in vectors])
    torch.testing.assert_close(torch.func.vmap(householder_matrix)(vectors), expected)
