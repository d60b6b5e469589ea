"""Storage of the weights of a masked convolution, without the blocks that are always zero."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Packing(NamedTuple):
    r"""Storage of a kernel of ``shape`` (C_out, C_in, h, w), by default as (C_out, h·w, C_in).

    ``skipped``: number of taps omitted at the start of each kernel, in row order: (C_out, h·w − skipped, C_in).
    ``edges``: channels at which a lower triangular 1x1 kernel is cut into columns of blocks; the blocks from the
    diagonal down are stored, one column after another.

    >>> Packing.triangular(300).edges
    (0, 144, 300)
    >>> Packing((2, 3, 2, 3), skipped=1).pack(torch.ones(2, 3, 2, 3)).shape
    torch.Size([2, 5, 3])
    """

    shape: tuple[int, ...]
    skipped: int = 0
    edges: tuple[int, ...] = ()

    @classmethod
    def triangular(cls, channels: int) -> "Packing":
        """Blocks of about 132 channels and multiples of 16: smaller ones cost more time than they save."""
        num = max(1, channels // 132)
        inner = [16 * round(channels * i / num / 16) for i in range(1, num)]
        return cls((channels, channels, 1, 1), edges=(0, *inner, channels))

    @property
    def widths(self) -> list[int]:
        """Number of channels of each column of blocks."""
        return [end - start for start, end in zip(self.edges, self.edges[1:], strict=False)]

    def columns(self, packed: Tensor) -> list[Tensor]:
        """The columns of blocks as kernels ``(C - start, width, 1, 1)``, without copying them."""
        sizes = [(self.edges[-1] - start, width) for start, width in zip(self.edges, self.widths, strict=False)]
        parts = packed.split([rows * width for rows, width in sizes])
        return [part.view(*size, 1, 1) for part, size in zip(parts, sizes, strict=True)]

    @property
    def num_taps(self) -> int:
        """Number of stored taps of each kernel."""
        return self.shape[2] * self.shape[3] - self.skipped

    def unpack(self, packed: Tensor) -> Tensor:
        """The kernel, with zeros for the skipped parts."""
        if len(self.edges) == 2:
            return packed.view(self.shape)
        if self.edges:
            starts = zip(self.edges, self.columns(packed), strict=False)
            return torch.cat([F.pad(column, (0, 0, 0, 0, 0, 0, start, 0)) for start, column in starts], dim=1)
        out, into, *size = self.shape
        whole = F.pad(packed, (0, 0, self.skipped, 0)) if self.skipped else packed
        return whole.view(out, *size, into).permute(0, 3, 1, 2)  # in channels_last, without copying it

    def pack(self, kernel: Tensor) -> Tensor:
        """The stored part of a kernel."""
        if self.edges:
            spans: Sequence[tuple[int, int]] = list(zip(self.edges, self.edges[1:], strict=False))
            return torch.cat([kernel[start:, start:end].flatten() for start, end in spans])
        return kernel.permute(0, 2, 3, 1).flatten(1, 2)[:, self.skipped :]
