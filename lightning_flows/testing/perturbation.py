"""Parameters that reveal mistakes which initial values hide."""

from contextlib import nullcontext
from typing import Any, TypeVar

import torch
from torch import nn

from lightning_flows.functional.streams import forked
from lightning_flows.nets.advance import advance
from lightning_flows.nets.spectral_norm import SpectralNorm

Module = TypeVar("Module", bound=nn.Module)

STEPS = 40
"""Steps of power iterations after which norms have converged."""


@torch.no_grad()
def perturb(module: Module, *arguments: Any, noise: float = 0.2, seed: int | None = 0) -> Module:
    """Initialize a module in place with a batch, add noise to its parameters, and return it in eval mode.

    A call in train mode initializes layers that depend on data, such as :class:`ActNorm`. Power iterations converge at
    the new parameters, also those below an :class:`Invert`, whose calls do not advance them.

    Args:
        module: transform or flow.
        arguments: a batch x and, if it takes one, the context.
        noise: standard deviation of what is added to each trainable parameter.
        seed: of the noise; None draws it from torch's global generator.

    >>> from lightning_flows.transforms import Conv1x1
    >>> layer = perturb(Conv1x1(3), torch.randn(2, 3, 4, 4))
    >>> layer.training
    False
    """
    module.train()
    getattr(module, "log_prob", module)(*arguments)
    with nullcontext() if seed is None else forked(seed, "perturb"):
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter.add_(noise * torch.randn_like(parameter))
    owners: list[Any] = [m for m in module.modules() if isinstance(getattr(m, "spectral_norm", None), SpectralNorm)]
    for _ in range(STEPS):
        advance(owners)
    return module.eval()
