import math

import pytest

from lightning_flows.functional.quadrature import gauss_legendre, quadrature_error


@pytest.mark.parametrize("num_nodes", [1, 2, 3, 5, 9])
def test_is_exact_up_to_its_degree_and_no_further(num_nodes):
    def integral(degree):
        return sum(weight * node**degree for node, weight in gauss_legendre(num_nodes))

    for degree in range(2 * num_nodes):
        assert integral(degree) == pytest.approx(1 / (degree + 1), rel=1e-14)
    assert abs(integral(2 * num_nodes) - 1 / (2 * num_nodes + 1)) > 1e-12


@pytest.mark.parametrize("rate", [-2.0, 0.5, 2.0])
@pytest.mark.parametrize("num_nodes", [1, 2, 3, 4])
def test_error_is_within_its_bound(num_nodes, rate):
    error = sum(weight * math.exp(rate * node) for node, weight in gauss_legendre(num_nodes)) - math.expm1(rate) / rate
    bound = quadrature_error(rate, num_nodes) * max(1, math.exp(rate))  # the m-th derivative is at most that times |b|ᵐ
    assert abs(error) <= bound + 1e-15
    assert abs(error) > bound / 20 or bound < 1e-13
