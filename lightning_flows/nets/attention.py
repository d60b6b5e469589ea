"""Blocks of attention, over the nodes of a graph or the pixels of an image."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_flows.errors import UsageError, check_sizes


@dataclass(frozen=True)
class AttentionSizes:
    """Sizes of a net of attention blocks.

    Args:
        width: number of features per node or pixel.
        num_blocks: number of blocks; an encoder and a decoder have this many each.
        num_heads: number of heads per block.

    Raises: UsageError unless the number of heads divides the width.

    >>> AttentionSizes(width=32, num_blocks=1, num_heads=4).blocks()[0](torch.randn(2, 9, 32)).shape
    torch.Size([2, 9, 32])
    """

    width: int = 64
    num_blocks: int = 2
    num_heads: int = 4

    def __post_init__(self) -> None:
        check_sizes(0, num_blocks=self.num_blocks)
        check_sizes(width=self.width, num_heads=self.num_heads)
        if self.width % self.num_heads:
            raise UsageError(f"expected a width divisible by num_heads; got {self.width} and {self.num_heads} heads")

    def blocks(self) -> nn.ModuleList:
        """Build attention blocks of these sizes."""
        return nn.ModuleList(AttentionBlock(self.width, self.num_heads) for _ in range(self.num_blocks))


class Past(NamedTuple):
    """Keys and values of the items so far, ``(B, heads, N, width / heads)`` for at most N of them."""

    keys: Tensor
    values: Tensor


class AttentionBlock(nn.Module):
    """Multi-head attention and an MLP per item, both with residual connections and pre-normalization.

    Shapes: h ``(B, N, width)``; ``attn_mask`` is bool, broadcast to ``(B, N, N)``, True where an item attends to
    another; None if all attend to all. Source: Vaswani et al., 2017.
    """

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm, self.norm_net = nn.LayerNorm(width), nn.LayerNorm(width)
        self.project, self.join = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.net = nn.Sequential(nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width))

    def forward(self, h: Tensor, attn_mask: Tensor | None = None, *, is_causal: bool = False) -> Tensor:
        """Items attend to those of the mask or, if ``is_causal``, to themselves and the items before them."""
        queries, keys, values = self._project(h)
        mask = None if attn_mask is None else attn_mask[:, None]
        return self._finish(h, F.scaled_dot_product_attention(queries, keys, values, mask, is_causal=is_causal))

    def past(self, h: Tensor, length: int) -> Past:
        """An empty past of up to ``length`` items, for a batch like h."""
        keys = h.new_empty(len(h), self.num_heads, length, h.shape[-1] // self.num_heads)
        return Past(keys, torch.empty_like(keys))

    def extend(self, h: Tensor, past: Past, place: int) -> Tensor:
        """The outputs for K items from number ``place`` on, h ``(B, K, width)``, as with ``is_causal``.

        Adds the items to the past.
        """
        queries, keys, values = self._project(h)
        num, end = h.shape[1], place + h.shape[1]
        past.keys[:, :, place:end], past.values[:, :, place:end] = keys, values
        keys, values = past.keys[:, :, :end], past.values[:, :, :end]
        mask = torch.ones(num, end, dtype=torch.bool, device=h.device).tril(place)
        return self._finish(h, F.scaled_dot_product_attention(queries, keys, values, mask))

    def _project(self, h: Tensor) -> Tensor:
        """Queries, keys and values of all heads, ``(3, B, heads, N, width / heads)``."""
        return self.project(self.norm(h)).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)

    def _finish(self, h: Tensor, mixed: Tensor) -> Tensor:
        h = h + self.join(mixed.transpose(1, 2).flatten(-2))
        return h + self.net(self.norm_net(h))
