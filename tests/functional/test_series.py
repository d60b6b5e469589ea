import math

import pytest
import torch
import torch.nn.functional as F

from lightning_flows.functional.series import linear_exponential, matrix_exponential, remainder_bound, terms_needed
from tests.dense import conv_matrix, norm

NORMS = [0.0, 0.5, 0.95, 1.5, 2.0, 2.5, 4.0, 7.0]


def matrices(size: float) -> dict[str, torch.Tensor]:
    """Matrices of a given norm: any one, a symmetric one, a rotation, and the worst case, a multiple of one."""
    any_one = torch.randn(6, 6, dtype=torch.float64)
    symmetric = any_one + any_one.T
    rotation = torch.linalg.qr(any_one).Q
    identity = torch.eye(6, dtype=torch.float64)
    found = {"any": any_one, "symmetric": symmetric, "rotation": rotation, "up": identity, "down": -identity}
    return {name: matrix * (size / norm(matrix)) for name, matrix in found.items()}


@pytest.mark.parametrize("size", [0.5, 0.95, 1.5, 4.0])
@pytest.mark.parametrize("num_terms", [1, 3, 6, 9, 14])
def test_remainder_is_within_its_bound(size, num_terms):
    for name, matrix in matrices(size).items():
        power = total = torch.eye(6, dtype=torch.float64)
        for i in range(1, num_terms + 1):
            power = power @ matrix / i
            total = total + power
        error = norm(torch.linalg.matrix_exp(matrix) - total)
        bound = remainder_bound(size, num_terms)
        assert error <= bound * (1 + 1e-9) + 1e-13, name
        if name == "up" and math.isfinite(bound) and bound > 1e-12:
            assert error > 0.2 * bound  # the bound is not vacuous


@pytest.mark.parametrize("size", NORMS)
@pytest.mark.parametrize("tol", [1e-2, 1e-5, 1e-9])
def test_the_tolerance_is_met(size, tol):
    """Also if the map is split into steps, which multiplies their remainders."""
    for name, matrix in matrices(size).items() if size else {"zero": torch.zeros(6, 6, dtype=torch.float64)}.items():
        found = linear_exponential(
            lambda x, matrix=matrix: x @ matrix.T, torch.eye(6, dtype=torch.float64), norm_bound=size, tol=tol
        ).T
        assert norm(found - torch.linalg.matrix_exp(matrix)) <= tol + 1e-12, name


@pytest.mark.parametrize("size", NORMS)
def test_convolution_against_the_matrix_exponential(size):
    kernel = torch.randn(3, 3, 3, 3, dtype=torch.float64)
    matrix = conv_matrix(kernel, (4, 3))
    kernel, matrix = kernel * (size / norm(matrix)), matrix * (size / norm(matrix))
    x = torch.randn(2, 3, 4, 3, dtype=torch.float64)
    found = linear_exponential(lambda term: F.conv2d(term, kernel, padding=1), x, norm_bound=size)
    expected = (x.flatten(1) @ torch.linalg.matrix_exp(matrix).T).reshape(x.shape)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12 * math.exp(size))


@pytest.mark.parametrize("size", NORMS)
def test_forward_and_inverse_agree_in_float32(size):
    matrix = matrices(max(size, 1e-3))["any"].float()
    x = torch.randn(64, 6)
    z = linear_exponential(lambda term: term @ matrix.T, x, norm_bound=size)
    back = linear_exponential(lambda term: -term @ matrix.T, z, norm_bound=size)
    condition = math.exp(2 * max(0, size - 2))  # beyond the norms in use round-off grows with ‖exp(M)‖ ‖exp(−M)‖
    assert (back - x).abs().max() <= 1e-5 * x.abs().max() * condition


@pytest.mark.parametrize("size", NORMS)
@pytest.mark.parametrize("tol", [1e-2, 1e-6, 1e-12])
def test_terms_needed_is_the_smallest_number(size, tol):
    terms = terms_needed(size, tol)
    assert remainder_bound(size, terms) <= tol
    assert terms == 0 or remainder_bound(size, terms - 1) > tol


@pytest.mark.parametrize(
    ("size", "tol"), [(-1.0, 1e-3), (math.nan, 1e-3), (math.inf, 1e-3), (1.0, 0.0), (1.0, math.nan)]
)
def test_wrong_arguments(size, tol):
    with pytest.raises(ValueError, match="expected a finite norm of at least 0 and a tolerance above 0; got"):
        terms_needed(size, tol)


def test_fixed_number_of_terms():
    x = torch.ones(1, dtype=torch.float64)
    found = linear_exponential(lambda term: 0.5 * term, x, norm_bound=0.5, num_terms=2)
    assert found.item() == pytest.approx(1 + 0.5 + 0.125, abs=1e-15)


def test_gradient_is_the_series_of_the_transpose():
    matrix = matrices(0.9)["any"]
    x = torch.randn(2, 6, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 6, dtype=torch.float64)
    (linear_exponential(lambda term: term @ matrix.T, x, norm_bound=0.9) * weight).sum().backward()
    torch.testing.assert_close(x.grad, weight @ torch.linalg.matrix_exp(matrix), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", NORMS)
def test_matrix_exponential(size, dtype):
    several = torch.stack(list(matrices(size or 1.0).values())) * (size > 0)
    found = matrix_exponential(several[None].to(dtype), norm_bound=size)
    assert (found.shape, found.dtype) == ((1, *several.shape), dtype)
    error = torch.linalg.matrix_norm(found[0].double() - torch.linalg.matrix_exp(several), ord=2)
    assert (error <= 40 * torch.finfo(dtype).eps * math.exp(size)).all()


def test_matrix_exponential_has_gradients():
    matrix = torch.randn(2, 3, 3, dtype=torch.float64)
    matrix = (matrix / torch.linalg.matrix_norm(matrix, ord=2)[:, None, None]).requires_grad_()
    assert torch.autograd.gradcheck(lambda value: matrix_exponential(value, norm_bound=1.01), (matrix,))
