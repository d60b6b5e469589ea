"""Masks that make convolutions autoregressive."""

import torch
from torch import Tensor

from lightning_flows.errors import UsageError


def channel_mask(out_channels: int, in_channels: int, *, strict: bool) -> Tensor:
    r"""Mask ``(out_channels, in_channels)`` in bool of the inputs that each output channel depends on.

    Both are ordered from low to high. The longer of the two is split into as many consecutive groups as the shorter one
    has channels; output group a depends on the input groups b ≤ a, or b < a where ``strict``. A chain of such masks
    with one inner width, of any size, is strictly autoregressive if its first or its last mask is strict.

    >>> channel_mask(4, 2, strict=False).int().tolist()
    [[1, 0], [1, 0], [1, 1], [1, 1]]
    >>> channel_mask(2, 4, strict=True).int().tolist()
    [[0, 0, 0, 0], [1, 1, 0, 0]]
    """
    groups = min(out_channels, in_channels)
    out_group = torch.arange(out_channels)[:, None] * groups // out_channels
    in_group = torch.arange(in_channels)[None, :] * groups // in_channels
    return in_group < out_group if strict else in_group <= out_group


def causal_mask(out_channels: int, in_channels: int, *, kernel_size: int, strict: bool) -> Tensor:
    """Mask of a causal kernel that looks to the right and down: ``(out_channels, in_channels, rows, kernel_size)``.

    In bool, with only the rows that a causal kernel uses: the center row and those below, of a 3x3 kernel ``rows = 2``.
    Left of the center it is False, the center follows :func:`channel_mask`, the rest is True.

    Raises: UsageError if ``kernel_size`` is even.

    >>> causal_mask(1, 1, kernel_size=3, strict=True).int().tolist()
    [[[[0, 0, 1], [1, 1, 1]]]]
    """
    if kernel_size % 2 == 0 or kernel_size < 1:
        raise UsageError(f"expected an odd kernel size; got {kernel_size}")
    center = kernel_size // 2
    mask = torch.ones(out_channels, in_channels, center + 1, kernel_size, dtype=torch.bool)
    mask[:, :, 0, :center] = False
    mask[:, :, 0, center] = channel_mask(out_channels, in_channels, strict=strict)
    return mask
