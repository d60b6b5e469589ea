"""Gated convolutional encoder and decoder of variational autoencoders."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_flows.errors import ShapeError, check_sizes
from lightning_flows.functional.shapes import image_shape

FACTOR = 4
"""Factor by which the encoder reduces height and width before its last convolution, and the decoder enlarges them."""


@dataclass(frozen=True)
class GatedConvSizes:
    """Sizes of encoder and decoder; the defaults are those of van den Berg et al.

    Args:
        width: channels of the convolutions at full size; there are twice as many at a quarter of it.
        features: number of features h of the encoder.
        hidden: channels of the layer before the logits, if there are several logits per value.

    Raises: UsageError for sizes below 1.
    """

    width: int = 32
    features: int = 256
    hidden: int = 256

    def __post_init__(self) -> None:
        check_sizes(width=self.width, features=self.features, hidden=self.hidden)


class GatedConv2d(nn.Conv2d):
    r"""Gated convolution :math:`h \cdot \sigma(g)`, where one convolution returns h and g.

    Shapes: x ``(B, in_channels, H, W)`` to ``(B, out_channels, H', W')``.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int | tuple[int, int], stride: int = 1, padding: int = 0
    ) -> None:
        super().__init__(in_channels, 2 * out_channels, kernel, stride, padding)

    def forward(self, x: Tensor) -> Tensor:
        return F.glu(super().forward(x), dim=1)


class GatedConvTranspose2d(nn.ConvTranspose2d):
    r"""Gated transposed convolution :math:`h \cdot \sigma(g)`, initialized as torch initializes two separate ones.

    A stride of 2 doubles height and width.
    Shapes: x ``(B, in_channels, H, W)`` to ``(B, out_channels, H', W')``.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int | tuple[int, int], stride: int = 1, padding: int = 0
    ) -> None:
        super().__init__(in_channels, 2 * out_channels, kernel, stride, padding, output_padding=stride - 1)
        bound = 1 / math.sqrt(out_channels * math.prod(self.kernel_size))  # torch's, for out_channels outputs
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        return F.glu(super().forward(x, output_size), dim=1)


class GatedEncoder(nn.Sequential):
    """Six gated convolutions from images to features.

    Shapes: x ``(B, C, H, W)`` to ``(B, features)``; H and W are multiples of 4.
    Raises: ShapeError for other events.
    Source: van den Berg, Hasenclever, Tomczak and Welling, Sylvester normalizing flows, 2018.
    """

    def __init__(self, event_shape: Sequence[int], sizes: GatedConvSizes) -> None:
        (channels, *reduced), width = reduced_shape(event_shape), sizes.width
        super().__init__(
            GatedConv2d(channels, width, 5, 1, 2),
            GatedConv2d(width, width, 5, 2, 2),
            GatedConv2d(width, 2 * width, 5, 1, 2),
            GatedConv2d(2 * width, 2 * width, 5, 2, 2),
            GatedConv2d(2 * width, 2 * width, 5, 1, 2),
            GatedConv2d(2 * width, sizes.features, (reduced[0], reduced[1])),
            nn.Flatten(),
        )


class GatedDecoder(nn.Sequential):
    """Six gated transposed convolutions from latents to images, and one or two convolutions to logits.

    Args:
        latent_size: number of latents D.
        event_shape: shape (C, H, W) of the images; H and W are multiples of 4.
        num_logits: logits L per value.
        sizes: widths.

    Shapes: z ``(B, D)`` to logits ``(B, C·L, H, W)``, with the logits of a value next to each other.
    Raises: ShapeError for other events.
    Source: as for :class:`GatedEncoder`.
    """

    def __init__(self, latent_size: int, event_shape: Sequence[int], num_logits: int, sizes: GatedConvSizes) -> None:
        (channels, *reduced), width = reduced_shape(event_shape), sizes.width
        outputs = channels * num_logits
        super().__init__(
            nn.Unflatten(1, (latent_size, 1, 1)),
            GatedConvTranspose2d(latent_size, 2 * width, (reduced[0], reduced[1])),
            GatedConvTranspose2d(2 * width, 2 * width, 5, 1, 2),
            GatedConvTranspose2d(2 * width, width, 5, 2, 2),
            GatedConvTranspose2d(width, width, 5, 1, 2),
            GatedConvTranspose2d(width, width, 5, 2, 2),
            GatedConvTranspose2d(width, width, 5, 1, 2),
            nn.Conv2d(width, outputs, 1) if num_logits == 1 else LinearConvs(width, sizes.hidden, outputs),
        )


class LinearConvs(nn.Module):
    """A 5x5 and a 1x1 convolution with nothing in between, applied as the one 5x5 convolution that they compose to.

    Shapes: x ``(B, in_channels, H, W)`` to ``(B, out_channels, H, W)``.
    """

    def __init__(self, in_channels: int, hidden: int, out_channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(in_channels, hidden, 5, padding=2)
        self.second = nn.Conv2d(hidden, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        matrix = self.second.weight.flatten(1)
        kernel = torch.einsum("oh,hikl->oikl", matrix, self.first.weight)
        return F.conv2d(x, kernel, F.linear(self.first.bias, matrix, self.second.bias), padding=2)  # type: ignore[arg-type]


def reduced_shape(event_shape: Sequence[int]) -> tuple[int, int, int]:
    """Return (C, H/4, W/4) of images (C, H, W). Raises: ShapeError for events that encoder and decoder do not fit."""
    if len(event_shape) != 3 or any(n < FACTOR or n % FACTOR for n in event_shape[1:]):
        raise ShapeError(
            f"expected images (C, H, W) with H and W multiples of {FACTOR}; got {tuple(event_shape)}: resize or pad "
            "them"
        )
    channels, height, width = image_shape(event_shape)
    return channels, height // FACTOR, width // FACTOR
