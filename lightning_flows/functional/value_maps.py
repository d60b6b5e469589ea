"""Monotone maps of single values, as in couplings and autoregressive layers."""

from numbers import Integral
from typing import Literal, get_args

import torch
from torch import Tensor

from lightning_flows.errors import UsageError
from lightning_flows.functional.gaussian_mixture import mixture_from_normal, mixture_quantile, mixture_to_normal
from lightning_flows.functional.monotone import soft_clamp
from lightning_flows.functional.shapes import parameters_first
from lightning_flows.functional.spline import inverse_spline, num_spline_parameters, spline

ValueMap = Literal["affine", "mixture", "spline"]
"""Monotone maps of one value: scale and shift, the distribution function of a Gaussian mixture, or a rational-quadratic
spline, which is inverted in closed form."""
LOG_SCALE_BOUND = 2.0


def num_map_parameters(kind: ValueMap, components: int) -> int:
    """Number of parameters of a map with ``components`` Gaussians or bins.

    Raises: UsageError for an unknown kind or no components.

    >>> num_map_parameters("affine", 8), num_map_parameters("mixture", 8), num_map_parameters("spline", 8)
    (2, 24, 27)
    """
    if kind not in get_args(ValueMap) or not isinstance(components, Integral) or components < 1:
        kinds = ", ".join(get_args(ValueMap))
        raise UsageError(f"expected a map among {kinds}, and at least one component; got {kind} and {components}")
    return {"affine": 2, "mixture": 3 * components, "spline": num_spline_parameters(components)}[kind]


def initial_params(kind: ValueMap, components: int) -> Tensor:
    """Initial parameters: the identity, or components spread over the range of normalized values.

    Shapes: ``(num_map_parameters(kind, components),)``.

    >>> initial_params("affine", 8)
    tensor([0., 0.])
    """
    if kind != "mixture":
        return torch.zeros(num_map_parameters(kind, components))
    return torch.cat([torch.zeros(components), torch.linspace(-1.5, 1.5, components), torch.full((components,), -0.7)])


def apply_map(kind: ValueMap, y: Tensor, params: Tensor, *, dim: int = -1) -> tuple[Tensor, Tensor]:
    r"""Map each value y ``(...)`` to z and log z' for parameters ``(..., P)``, or with their P along another ``dim``.

    .. math:: T(y) = y\,e^{\ell} + t \quad \text{or} \quad T(y) = \Phi^{-1}(F(y))

    F is the distribution function of a mixture of Gaussians. For ``spline`` see
    :func:`~lightning_flows.functional.spline.spline`.

    Shapes: z and log z' ``(...)``.

    >>> apply_map("affine", torch.tensor([2.0]), torch.tensor([[0.0, 1.0]]))  # no scaling, then a shift by 1
    (tensor([3.]), tensor([0.]))
    """
    if kind == "mixture":
        return mixture_to_normal(y, params, dim=dim)
    if kind == "spline":
        return spline(y, parameters_first(params, y, dim))
    argument, shift = params.unbind(dim)
    log_scale = soft_clamp(argument, LOG_SCALE_BOUND)
    return y * torch.exp(log_scale) + shift, log_scale


def invert_map(kind: ValueMap, z: Tensor, params: Tensor, *, dim: int = -1) -> tuple[Tensor, Tensor]:
    """Map each value z to :math:`y = T^{-1}(z)` and log y'; the inverse of :func:`apply_map`.

    Shapes: as :func:`apply_map`.

    >>> invert_map("affine", torch.tensor([3.0]), torch.tensor([[0.0, 1.0]]))[0]
    tensor([2.])
    """
    if kind == "mixture":
        return mixture_from_normal(z, params, dim=dim)
    if kind == "spline":
        return inverse_spline(z, parameters_first(params, z, dim))
    argument, shift = params.unbind(dim)
    log_scale = soft_clamp(argument, LOG_SCALE_BOUND)
    return (z - shift) * torch.exp(-log_scale), -log_scale


def invert_value(kind: ValueMap, z: Tensor, params: Tensor, *, dim: int = -1) -> Tensor:
    """The :math:`y = T^{-1}(z)` of :func:`invert_map` alone, and without gradients where it is solved for.

    Shapes: z, y ``(...)``.

    >>> invert_value("affine", torch.tensor([3.0]), torch.tensor([[0.0, 1.0]]))
    tensor([2.])
    """
    return mixture_quantile(z, params, dim=dim) if kind == "mixture" else invert_map(kind, z, params, dim=dim)[0]
