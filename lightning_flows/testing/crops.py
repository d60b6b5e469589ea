"""Levels of a flow on crops of images, on which Jacobians are affordable."""

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

Level = TypeVar("Level", bound=nn.Module)


def crop(x: Tensor, max_values: int) -> Tensor | None:
    """The center of images ``(B, C, H, W)``, with sides halved until an image has at most ``max_values`` values.

    None for other events, and if a side would become odd, which a squeeze does not accept.

    >>> crop(torch.zeros(1, 3, 32, 32), 1024).shape
    torch.Size([1, 3, 16, 16])
    """
    if x.ndim != 4:
        return None
    height, width = x.shape[2:]
    while x.shape[1] * height * width > max_values:
        if height % 4 or width % 4:
            return None
        height, width = height // 2, width // 2
    top, left = (x.shape[2] - height) // 2, (x.shape[3] - width) // 2
    return x[:, :, top : top + height, left : left + width].contiguous()


def for_crop(level: Level, factor: int) -> Level:
    """A copy of a level with the same weights for images whose sides are ``factor`` times smaller.

    It fails when it is called if the number of some weights depends on the size of images.
    """
    twin = copy.deepcopy(level)
    for module in twin.modules():
        shape = vars(module).get("event_shape")
        if isinstance(shape, tuple) and len(shape) == 3:
            module.event_shape = (shape[0], *(side and side // factor for side in shape[1:]))  # type: ignore[assignment]
    return twin


def fixed_size(level: nn.Module, x: Tensor) -> str | None:
    """Class of the innermost module that does not accept images of the size of x; None if all do."""
    entered: list[str] = []

    def leave(*_: object) -> None:
        entered.pop()

    handles = []
    for module in level.modules():
        name = type(module).__name__
        handles.append(module.register_forward_pre_hook(lambda *_, name=name: entered.append(name)))
        handles.append(module.register_forward_hook(leave))
    try:
        with torch.no_grad():
            level(x)
    except (ValueError, RuntimeError, IndexError):
        return entered[-1] if entered else type(level).__name__
    finally:
        for handle in handles:
            handle.remove()
    return None
