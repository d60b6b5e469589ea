"""The invertible linear layers, called mixing layers, that section 6.1 compares."""

from collections.abc import Sequence
from typing import Literal, get_args

from lightning_flows.errors import UsageError
from lightning_flows.transforms.base import Transform
from lightning_flows.transforms.compose import Compose
from lightning_flows.transforms.image.autoregressive_conv import AutoregressiveConv
from lightning_flows.transforms.image.conv1x1 import Conv1x1, Householder
from lightning_flows.transforms.image.conv_exponential import ConvExponential
from lightning_flows.transforms.image.woodbury import Woodbury
from lightning_flows.transforms.linear import LinearCompose
from lightning_flows.transforms.pointwise import Bias

Mixing = Literal["conv1x1", "emerging", "woodbury", "conv_exponential"]
"""Kinds of mixing layers, in the order of Table 1."""

MIXINGS: tuple[Mixing, ...] = get_args(Mixing)


def mixing_layer(
    kind: Mixing,
    event_shape: Sequence[int],
    *,
    exponential_max_norm: float = 0.95,
    woodbury_rank: int = 24,
    num_reflections: int = 64,
) -> Transform:
    """Return a layer that mixes the channels of each pixel, and, except for ``conv1x1``, neighboring pixels.

    .. math:: z = A W x

    W is a matrix over the channels of each pixel, and A the linear map of an image that ``kind`` names:

    - ``conv1x1``: one matrix over the channels.
    - ``emerging``: a 1x1 convolution, then two autoregressive 2x2 convolutions in opposite directions with biases.
    - ``woodbury``: a 1x1 convolution, then the identity plus a matrix of rank ``woodbury_rank`` over the positions.
    - ``conv_exponential``: a 1x1 convolution (above 64 channels ``num_reflections`` Householder reflections), then the
      convolution exponential; with a bias per value before and after.

    Shapes: x, z ``(B, *event_shape)`` with event_shape (C, H, W). Raises: UsageError for another kind.

    >>> mixing_layer("emerging", (4, 8, 8))
    Compose(
      (transforms): ModuleList(
        (0): Conv1x1((B, 4, H, W))
        (1): AutoregressiveConv((B, 4, H, W))
        (2): Bias((B, 4, H, W))
        (3): AutoregressiveConv((B, 4, H, W), reverse=True)
        (4): Bias((B, 4, H, W))
      )
    )
    """
    channels = event_shape[0]
    if kind == "conv1x1":
        return Conv1x1(channels)
    if kind == "emerging":
        causal = [AutoregressiveConv(channels), Bias((channels, 1, 1))]
        anticausal = [AutoregressiveConv(channels, reverse=True), Bias((channels, 1, 1))]
        return Compose([Conv1x1(channels), *causal, *anticausal])
    if kind == "woodbury":
        return LinearCompose([Conv1x1(channels), Woodbury(event_shape, rank=woodbury_rank)])
    if kind == "conv_exponential":
        pixels = Conv1x1(channels) if channels <= 64 else Householder(channels, num_reflections=num_reflections)
        exponential = ConvExponential(event_shape, max_norm=exponential_max_norm)
        return Compose([Bias(event_shape), pixels, exponential, Bias(event_shape)])
    raise UsageError(f"expected a mixing among {', '.join(MIXINGS)}; got {kind}")
