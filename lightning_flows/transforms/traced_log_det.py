r"""Log-determinants of :math:`x + g(x)` in the form that torch.compile traces, without ``torch.autograd.grad``."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from lightning_flows.transforms.base import sum_event

Function = Callable[[Tensor], Tensor]


def pullback(function: Function, x: Tensor) -> tuple[Tensor, Function]:
    """Return g(x) and v ↦ Jᵀv."""
    g, pull, *_ = torch.func.vjp(function, x)
    return g, lambda v: pull(v)[0]


def exact_log_det(pull: Function, x: Tensor) -> Tensor:
    """log|det(I + J)| ``(B,)`` from all rows of the Jacobian at once."""
    dims = math.prod(x.shape[1:])
    identity = torch.eye(dims, dtype=x.dtype, device=x.device)
    rows = identity[:, None].expand(dims, len(x), dims).reshape(dims, *x.shape)
    jacobian = torch.vmap(pull)(rows).flatten(2).transpose(0, 1)
    return torch.linalg.slogdet(identity + jacobian).logabsdet


def num_random_terms(stop_probability: float) -> Tensor:
    """Draw a geometric number N ≥ 1 on the host, so that reading it does not wait for the device."""
    uniform = torch.rand(()).double()
    return 1 + (torch.log1p(-uniform) / math.log1p(-stop_probability)).long()


def roulette_log_det(function: Function, x: Tensor, probe: Tensor, *, num_exact: int, stop: float) -> Tensor:
    r"""Unbiased estimate ``(B,)`` of log|det(I + J)|, with the gradient of its Neumann series.

    .. math:: \sum_{k=1}^{n+N} \frac{(-1)^{k+1} w_k}{k}\, v^\top J^k v, \qquad w_{n+i} = (1-p)^{1-i}

    v are the signs ``probe``, n = ``num_exact``, p = ``stop`` and N is random. The loop over terms is part of the
    graph, so that another N does not lead to another graph; each round evaluates the function again.
    """
    last, point = num_exact + num_random_terms(stop), x.detach()
    images = x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if images else torch.contiguous_format  # the state of a loop keeps its strides
    probe = probe.contiguous(memory_format=layout)

    def more(k: Tensor, *state: Tensor) -> Tensor:
        return k <= last

    def add(k: Tensor, term: Tensor, solution: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        term = pullback(function, point)[1](term).contiguous(memory_format=layout)
        weight = (1 - 2.0 * (k % 2 == 0)) * (1 - stop) ** -(k - num_exact - 1).clamp(min=0).double()
        value = value + (weight / k).to(point) * sum_event(term * probe)
        solution = solution - weight.to(point) * term
        return k + 1, term.detach(), solution.detach(), value.detach()

    with torch.no_grad():
        start = torch.ones((), dtype=torch.long), probe.clone(), probe.clone(), torch.zeros_like(sum_event(probe))
        *_, solution, value = torch.while_loop(more, add, start)
    _, pull = pullback(function, x)
    surrogate = sum_event(pull(solution.detach()) * probe)
    return value.detach() + surrogate - surrogate.detach()
