"""The convolution exponential against autograd through its series, and what it keeps for the backward."""

import math

import pytest
import torch
import torch.nn.functional as F

from lightning_flows.functional.conv_exponential import conv_exponential
from lightning_flows.functional.quadrature import gauss_legendre
from lightning_flows.functional.series import linear_exponential
from tests.dense import conv_matrix, norm


def inputs(size: float, *, kernel_size: int = 3, dtype: torch.dtype = torch.float64, batch: int = 2):
    kernel = torch.randn(3, 3, kernel_size, kernel_size, dtype=torch.float64)
    kernel = (kernel * (size / norm(conv_matrix(kernel, (4, 3))))).to(dtype)
    return kernel.requires_grad_(), torch.randn(batch, 3, 4, 3, dtype=dtype, requires_grad=True)


def series(kernel, x, *, norm_bound, num_terms=None):
    return linear_exponential(
        lambda term: F.conv2d(term, kernel, padding=kernel.shape[2] // 2), x, norm_bound=norm_bound, num_terms=num_terms
    )


@pytest.mark.parametrize("num_terms", [None, 1, 2, 5])
@pytest.mark.parametrize("size", [0.01, 0.95, 1.9, 4.5])
@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_value_and_gradients_are_those_of_the_series(size, kernel_size, num_terms):
    arguments = inputs(size, kernel_size=kernel_size)
    found, expected = (
        function(*arguments, norm_bound=1.1 * size, num_terms=num_terms) for function in (conv_exponential, series)
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-13 * math.exp(size))
    weight = torch.randn_like(found)
    gradients = (torch.autograd.grad((value * weight).sum(), arguments) for value in (found, expected))
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("num_terms", [None, 3])
@pytest.mark.parametrize("size", [0.9, 2.5])
def test_derivatives_of_first_and_second_order(size, num_terms):
    def function(kernel, x):
        return conv_exponential(kernel, x, norm_bound=1.1 * size, num_terms=num_terms)

    arguments = inputs(size, batch=1)
    assert torch.autograd.gradcheck(function, arguments)
    assert torch.autograd.gradgradcheck(function, arguments)


def test_gradients_in_float32_are_exact_to_the_remainder_of_the_series():
    kernel, x = inputs(1.0, dtype=torch.float32)
    weight = torch.randn_like(x)
    mine = torch.autograd.grad((conv_exponential(kernel, x, norm_bound=1.045) * weight).sum(), (kernel, x))
    double = kernel.double(), x.double()
    exact = torch.autograd.grad((series(*double, norm_bound=1.045) * weight).sum(), double)
    for found, expected in zip(mine, exact, strict=True):
        torch.testing.assert_close(found.double(), expected, rtol=0, atol=3e-6 * expected.abs().max().item())


def kept_by(kernel, x, **options):
    kept: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (kept.append(t), t)[1], lambda t: t):
        conv_exponential(kernel, x, norm_bound=1.0, **options).sum()
    return [t for t in kept if t.data_ptr() not in (kernel.data_ptr(), x.data_ptr())]


def test_keeps_its_input_kernel_and_images_at_the_nodes_of_a_quadrature():
    kernel, x = inputs(0.9)
    (nodes,) = kept_by(kernel, x)
    rule = gauss_legendre(len(nodes) // len(x))
    for image, (t, _) in zip(nodes.chunk(len(rule)), rule, strict=True):
        expected = conv_exponential(kernel, x, norm_bound=1.0, scale=t)
        torch.testing.assert_close(image, expected, rtol=0, atol=1e-13)


def test_keeps_no_images_that_its_backward_does_not_need():
    kernel, x = inputs(0.9)
    assert kept_by(kernel, x, num_terms=4) == kept_by(kernel.detach(), x) == []


@pytest.mark.parametrize("size", [0.9, 4.5])
def test_scale_multiplies_the_kernel(size):
    kernel, x = inputs(size)
    found = conv_exponential(kernel, x, norm_bound=size, scale=-0.7)
    expected = conv_exponential(-0.7 * kernel, x, norm_bound=size)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    weight = torch.randn_like(x)
    gradients = (torch.autograd.grad((value * weight).sum(), (kernel, x)) for value in (found, expected))
    torch.testing.assert_close(*gradients, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("batch", [0, 2])
@pytest.mark.parametrize("num_terms", [None, 0])
def test_empty_batches_and_series_of_no_terms(batch, num_terms):
    kernel, x = inputs(0.9, batch=batch)
    z = conv_exponential(kernel, x, norm_bound=1.0, num_terms=num_terms)
    z.sum().backward()
    assert z.shape == x.shape
    assert z.data_ptr() != x.data_ptr() or not batch
    assert kernel.grad is not None
    assert kernel.grad.any() == (num_terms is None and batch > 0)


def test_one_of_the_inputs_without_a_gradient():
    kernel, x = inputs(0.9)
    weight = torch.randn_like(x)
    both = torch.autograd.grad((conv_exponential(kernel, x, norm_bound=1.0) * weight).sum(), (kernel, x))
    of_kernel = torch.autograd.grad((conv_exponential(kernel, x.detach(), norm_bound=1.0) * weight).sum(), kernel)
    of_x = torch.autograd.grad((conv_exponential(kernel.detach(), x, norm_bound=1.0) * weight).sum(), x)
    torch.testing.assert_close((*of_kernel, *of_x), both, rtol=0, atol=1e-13)


def test_vjp_and_vmap_of_torch_func():
    kernel, x = inputs(0.9, batch=3)
    kernel, x = kernel.detach(), x.detach()
    one = lambda value: conv_exponential(kernel, value[None], norm_bound=1.0)[0]  # noqa: E731
    torch.testing.assert_close(torch.func.vmap(one)(x), conv_exponential(kernel, x, norm_bound=1.0), rtol=0, atol=1e-13)
    jacobian = torch.func.jacrev(one)(x[0]).reshape(36, 36)
    expected = torch.linalg.matrix_exp(conv_matrix(kernel, (4, 3)))
    torch.testing.assert_close(jacobian, expected, rtol=0, atol=1e-12)
