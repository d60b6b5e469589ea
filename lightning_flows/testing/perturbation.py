"""Parameters that reveal mistakes which initial values hide."""

from contextlib import nullcontext
from typing import Any, TypeVar

import torch
from torch import nn

from lightning_flows.functional.streams import forked
from lightning_flows.nets.spectral_norm import SpectralNorm
from lightning_flows.transforms import Invert

Module = TypeVar("Module", bound=nn.Module)

STEPS = 40
"""Steps of power iterations after which norms have converged."""


@torch.no_grad()
def perturb(module: Module, *arguments: Any, noise: float = 0.2, seed: int | None = 0) -> Module:
    """Initialize a module in place with a batch, add noise to its parameters, and return it in eval mode.

    The first call in train mode initializes layers that depend on data, such as :class:`ActNorm`; more of them let
    power iterations converge.

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
    run = getattr(module, "log_prob", module)
    module.train()
    run(*arguments)
    with nullcontext() if seed is None else forked(seed, "perturb"):
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter.add_(noise * torch.randn_like(parameter))
    iterative = any(isinstance(each, SpectralNorm) for each in module.modules())
    for _ in range(STEPS if iterative else 0):
        run(*arguments)
        for inverted in (each for each in module.modules() if isinstance(each, Invert)):
            inverted.inverse(*arguments)  # a forward of the inner transform, which is never trained
    return module.eval()
