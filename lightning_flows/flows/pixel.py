"""Flows that are autoregressive over the pixels of an image."""

import math
from collections.abc import Sequence

from lightning_flows.errors import UsageError, check_sizes
from lightning_flows.flows.flow import ImageFlow
from lightning_flows.functional.shapes import image_shape
from lightning_flows.functional.value_maps import ValueMap
from lightning_flows.nets import AttentionSizes, PixelFunction
from lightning_flows.transforms import (
    ActNorm,
    Affine,
    Compose,
    Flip,
    GeneralizedSylvester,
    Householder,
    LinearCompose,
    Squeeze,
    Transform,
)


class PixelAutoregressiveFlow(ImageFlow):
    r"""Generalized Sylvester layers that are autoregressive over pixels, by attention.

    .. math:: z = W^{-1} T(Wx) = x + W^{-1} f(Wx)

    W is a product of reflections of each pixel's channels, and f the :class:`PixelFunction`: the error of a linear
    prediction of each value is transformed by a monotone map that depends on the pixels before it, in the fronts of a
    :class:`PixelTransformer`. Every second layer visits them in the opposite direction. Not in the paper; meant for
    small images, since sampling takes a step for each front.

    Args:
        event_shape: shape (C, H, W) of the images.
        num_layers: number of layers.
        sizes: sizes of the attention blocks.
        value_map: T: the distribution function of a Gaussian mixture, a spline or affine.
        components: number of Gaussians of the mixture, or of bins of the spline.
        patch: side of the squares of pixels that are visited together, a power of 2: their values are the channels of
            one pixel of the net, which is cheaper in proportion to their number.
        head_width: width of a masked net by which a value depends on the others of its pixel, or patch, that come
            before it; 0 for a linear dependence.
        window: side of the window of earlier pixels from which a pixel is predicted and embedded; wider windows take
            more fronts.

    Shapes: x ``(B, C, H, W)``, values in [0, 256].
    Raises: ShapeError for other events; UsageError for sizes below 1, or a patch that is not a power of 2.

    >>> import torch
    >>> sizes = AttentionSizes(width=8, num_blocks=1, num_heads=2)
    >>> flow = PixelAutoregressiveFlow((1, 4, 4), sizes=sizes, components=2, window=3).eval()
    >>> x = 256 * torch.rand(2, 1, 4, 4)
    >>> torch.allclose(flow.decode(flow.encode(x)), x, atol=0.1), flow(x).shape
    (True, torch.Size([2]))
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        *,
        num_layers: int = 1,
        sizes: AttentionSizes = AttentionSizes(width=96, num_blocks=4),
        value_map: ValueMap = "mixture",
        components: int = 8,
        patch: int = 1,
        head_width: int = 0,
        window: int = 5,
    ) -> None:
        check_sizes(num_layers=num_layers, patch=patch)
        if patch & (patch - 1):
            raise UsageError(f"patch is {patch}: use a power of 2")
        squeezes = [Squeeze() for _ in range(patch.bit_length() - 1)]
        shape = image_shape(event_shape)
        for squeeze in squeezes:
            shape = image_shape(squeeze.output_shape(shape))
        channels, *_ = shape
        transforms: list[Transform] = [Affine(shift=128.0, scale=64.0), *squeezes]
        for number in range(num_layers):
            function = PixelFunction(
                shape, sizes, value_map=value_map, components=components, head_width=head_width, window=window
            )
            basis = LinearCompose([Householder(channels)])
            # a triangular system of D values takes at most D iterations
            layer = GeneralizedSylvester(basis, function, max_iter=max(200, math.prod(shape)))
            transforms += [*([Flip()] if number else []), ActNorm(channels), layer]
        super().__init__(Compose(transforms), event_shape=event_shape)
