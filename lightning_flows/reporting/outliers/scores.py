"""Outlier scores: higher for outliers, in the unit of the loss."""

from typing import NamedTuple

import torch
from torch import Tensor

from lightning_flows.data.datasets.compression import png_bits_per_dim


class Scored(NamedTuple):
    """The loss of each item ``(N,)``, and of images also the size as PNG in bits per dimension, both float64."""

    loss: Tensor
    png: Tensor | None = None


def png_sizes(images: Tensor) -> Tensor:
    """Size of each image as an optimized PNG file, in bits per dimension: uint8 ``(N, C, H, W)`` to float64 ``(N,)``.

    Raises: ShapeError unless the images have 1 or 3 channels.
    """
    return torch.tensor([png_bits_per_dim(image[None]) for image in images], dtype=torch.float64)


def complexity_corrected(bpd: Tensor, png: Tensor) -> Tensor:
    r""":math:`\text{bpd}(x) - \text{PNG}(x)`: outliers are less likely than their complexity explains.

    Source: Serrà et al., Input Complexity and Out-of-distribution Detection, 2020.
    """
    return bpd - png


def typicality(loss: Tensor, mean: Tensor | float) -> Tensor:
    r""":math:`|\text{loss}(x) - m|`, the distance from the typical set; m is the mean loss of data of the same kind.

    Source: Nalisnick et al., Detecting Out-of-Distribution Inputs to Deep Generative Models Using Typicality, 2019,
    for one item.
    """
    return (loss - mean).abs()


def typicality_left_out(loss: Tensor) -> Tensor:
    r"""Typicality of each held-out item about the mean of the n − 1 others, as any other item is about theirs.

    .. math:: |x_i - m_{-i}| = \frac{n}{n - 1} |x_i - m|

    It is infinite for a single item, about whose spread nothing is known: all p-values are then 1.
    """
    num = len(loss)
    return typicality(loss, loss.mean()) * num / (num - 1) if num > 1 else torch.full_like(loss, torch.inf)
