"""What a module is given: flows and dequantizations as instances or functions of the event shape, and optimizers."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

from lightning_flows.errors import InputTypeError, ShapeError

PAPER_ADAM = partial(torch.optim.Adam, lr=1e-3, betas=(0.9, 0.99), eps=1e-7)
"""The paper's optimizer."""


def built(factory: Any, event_shape: Sequence[int] | None, kind: Any) -> Any:
    """A component: an instance as it is, or what a factory makes of the event shape.

    Raises: InputTypeError if it is not a ``kind``, and ShapeError if an instance is of other events.
    """
    if isinstance(factory, kind):
        made, event_shape = factory, factory.event_shape if event_shape is None else event_shape
    elif event_shape is None:
        raise ShapeError(f"expected an event_shape for {factory}, which is not a {kind.__name__}; got None")
    else:
        made = factory(tuple(event_shape))
    if not isinstance(made, kind):
        raise InputTypeError(f"expected a {kind.__name__}, or a function of the event shape that gives one; got {made}")
    if tuple(made.event_shape) != tuple(event_shape):
        raise ShapeError(f"expected a {kind.__name__} of events {tuple(event_shape)}; got one of {made.event_shape}")
    return made


def use_fast_kernels(optimizer: torch.optim.Optimizer, *, mixed: bool) -> None:
    """Set the fastest form of the update where the user has chosen none.

    Updating some hundred small tensors one by one would take a quarter of the step of a flow on graphs. Fused Adam
    would unscale the gradients of 16-mixed itself, so Lightning refuses to clip gradients with it in mixed precision.
    """
    form = "fused" if isinstance(optimizer, torch.optim.Adam) and not mixed else "foreach"
    for group in optimizer.param_groups:
        if form in group and group.get("fused") is None and group["foreach"] is None:
            group[form] = True
