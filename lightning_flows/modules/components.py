"""Components of a module: flows and dequantizations as instances or functions of the event shape, and optimizers."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from lightning_flows.errors import InputTypeError, ShapeError

PAPER_ADAM = partial(torch.optim.Adam, lr=1e-3, betas=(0.9, 0.99), eps=1e-7)
"""The paper's optimizer."""
VAE_ADAMAX = partial(torch.optim.Adamax, lr=5e-4, eps=1e-7)
"""The optimizer of van den Berg et al., Sylvester normalizing flows, 2018."""
for each in (PAPER_ADAM, VAE_ADAMAX):
    each.__module__ = __name__  # jsonargparse before 4.47 describes a default by its import path


def built(factory: Any, event_shape: Sequence[int] | None, kind: Any) -> Any:
    """Return a component that is an instance, or build it by calling a factory with the event shape.

    Raises: InputTypeError if it is not a ``kind``, and ShapeError if an instance has a different event shape.
    """
    if isinstance(factory, kind):
        made, event_shape = factory, factory.event_shape if event_shape is None else event_shape
    elif event_shape is None:
        raise ShapeError(f"expected an event_shape for {factory}, which is not a {kind.__name__}; got None")
    else:
        made = factory(tuple(event_shape)) if callable(factory) and not isinstance(factory, nn.Module) else factory
    if not isinstance(made, kind):
        name = type(made).__name__
        raise InputTypeError(f"expected a {kind.__name__}, or a function of event_shape that returns one; got {name}")
    if tuple(made.event_shape) != tuple(event_shape):
        raise ShapeError(f"expected a {kind.__name__} with event_shape {tuple(event_shape)}; got {made.event_shape}")
    return made


def use_fast_kernels(optimizer: torch.optim.Optimizer, *, mixed: bool) -> None:
    """Select the fastest implementation of the update unless the user has chosen one.

    Updating hundreds of small tensors one by one would take a quarter of a training step of a graph flow. Fused Adam
    would unscale the gradients of 16-mixed itself, so Lightning refuses to clip gradients with it in mixed precision.
    """
    form = "fused" if isinstance(optimizer, (torch.optim.Adam, torch.optim.AdamW)) and not mixed else "foreach"
    for group in optimizer.param_groups:
        if form in group and group.get("fused") is None and group["foreach"] is None:
            group[form] = True
