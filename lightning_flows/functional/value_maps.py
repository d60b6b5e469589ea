"""Monotone maps of single values, as in couplings and autoregressive layers."""

from typing import Literal

import torch
from torch import Tensor

from lightning_flows.errors import UsageError
from lightning_flows.functional.gaussian_mixture import mixture_from_normal, mixture_quantile, mixture_to_normal

ValueMap = Literal["affine", "mixture"]
"""Monotone maps of one value: scale and shift, or the distribution function of a Gaussian mixture."""
LOG_SCALE_BOUND = 2.0


def num_map_parameters(kind: ValueMap, components: int) -> int:
    """Number of parameters of a map. Raises: UsageError for an unknown kind or no components.

    >>> num_map_parameters("affine", 8), num_map_parameters("mixture", 8)
    (2, 24)
    """
    if kind not in ("affine", "mixture") or components < 1:
        raise UsageError(f"expected affine or mixture, and at least one component; got {kind} and {components}")
    return 2 if kind == "affine" else 3 * components


def initial_params(kind: ValueMap, components: int) -> Tensor:
    """Initial parameters: the identity, or components spread over the range of normalized values.

    >>> initial_params("affine", 8)
    tensor([0., 0.])
    """
    if kind == "affine":
        return torch.zeros(2)
    return torch.cat([torch.zeros(components), torch.linspace(-1.5, 1.5, components), torch.full((components,), -0.7)])


def apply_map(kind: ValueMap, y: Tensor, params: Tensor, *, dim: int = -1) -> tuple[Tensor, Tensor]:
    """Map each value y ``(...)`` to z and log z' for parameters ``(..., P)``, or with their P along another ``dim``.

    >>> apply_map("affine", torch.tensor([2.0]), torch.tensor([[0.0, 1.0]]))  # no scaling, then a shift by 1
    (tensor([3.]), tensor([0.]))
    """
    if kind == "mixture":
        return mixture_to_normal(y, params, dim=dim)
    argument, shift = params.unbind(dim)
    log_scale = LOG_SCALE_BOUND * torch.tanh(argument / LOG_SCALE_BOUND)
    return y * torch.exp(log_scale) + shift, log_scale


def invert_map(kind: ValueMap, z: Tensor, params: Tensor, *, dim: int = -1) -> tuple[Tensor, Tensor]:
    """Map each value z to y and log y'; the inverse of :func:`apply_map`.

    >>> invert_map("affine", torch.tensor([3.0]), torch.tensor([[0.0, 1.0]]))[0]
    tensor([2.])
    """
    if kind == "mixture":
        return mixture_from_normal(z, params, dim=dim)
    argument, shift = params.unbind(dim)
    log_scale = LOG_SCALE_BOUND * torch.tanh(argument / LOG_SCALE_BOUND)
    return (z - shift) * torch.exp(-log_scale), -log_scale


def invert_value(kind: ValueMap, z: Tensor, params: Tensor, *, dim: int = -1) -> Tensor:
    """The y of :func:`invert_map` alone, and without gradients where it is solved for.

    >>> invert_value("affine", torch.tensor([3.0]), torch.tensor([[0.0, 1.0]]))
    tensor([2.])
    """
    return mixture_quantile(z, params, dim=dim) if kind == "mixture" else invert_map(kind, z, params, dim=dim)[0]
