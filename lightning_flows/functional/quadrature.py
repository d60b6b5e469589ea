"""Gauss-Legendre quadrature."""

import math


def gauss_legendre(num_nodes: int) -> list[tuple[float, float]]:
    r"""Nodes and weights of :math:`\int_0^1 f(s)\,ds \approx \sum_j w_j f(s_j)`, exact up to degree 2n − 1.

    The nodes are the roots of the Legendre polynomial Pₙ on [0, 1], found by Newton's method.

    >>> round(sum(weight * node**3 for node, weight in gauss_legendre(2)), 12)
    0.25
    """
    rule = []
    for j in range(num_nodes):
        t = math.cos(math.pi * (j + 0.75) / (num_nodes + 0.5))
        for _ in range(8):
            before, value = 1.0, t  # P₀ and P₁
            for k in range(2, num_nodes + 1):
                before, value = value, ((2 * k - 1) * t * value - (k - 1) * before) / k
            slope = num_nodes * (t * value - before) / (t * t - 1)
            t -= value / slope
        rule.append(((1 + t) / 2, 1 / ((1 - t * t) * slope * slope)))
    return rule


def quadrature_error(degree_bound: float, num_nodes: int) -> float:
    r"""Bound on the quadrature's error if :math:`|f^{(m)}| \le b^m` for all m, with b = ``degree_bound``.

    .. math:: \frac{(n!)^4}{(2n+1)\,((2n)!)^3}\,b^{2n}

    >>> f"{quadrature_error(0.95, 4):.0e}"
    '4e-10'
    """
    n = num_nodes
    return math.factorial(n) ** 4 / ((2 * n + 1) * math.factorial(2 * n) ** 3) * degree_bound ** (2 * n)
