"""Multi-scale flows over images."""

from collections.abc import Callable, Sequence

from lightning_flows.errors import ShapeError, check_sizes
from lightning_flows.flows.flow import ImageFlow
from lightning_flows.nets import DenseNet, DenseSizes
from lightning_flows.transforms import Affine, AffineCoupling, Compose, Squeeze, Transform

Step = Callable[[tuple[int, ...]], Sequence[Transform]]
"""The transforms of one step, given the shape of its events."""


class MultiScaleFlow(ImageFlow):
    r"""Levels that consist of a squeeze and repeated steps, each a :class:`Compose` of its own.

    .. math:: (z_l, h_l) = f_l(h_{l-1}), \quad h_0 = x, \qquad
              \log p(x) = \sum_l \log \mathcal N(z_l; 0, I) + \log|\det \partial z/\partial x|

    Pixel values in [0, 256] are normalized first; by default they are decoded to a hundredth of a pixel level. After
    each level but the last, half of the channels are factored out as a Gaussian conditioned by a gated dense net.

    Args:
        event_shape: shape (C, H, W) of the images.
        step: maps an event shape to the transforms of a step.
        num_levels: number of levels; each halves height and width.
        steps_per_level: number of steps per level.
        split: sizes of the dense nets.
        start: transforms after the first squeeze.

    Shapes: x ``(B, C, H, W)``; latents, see ``latent_shapes``; densities ``(B,)`` in nats.
    Raises: ShapeError if height or width cannot be halved ``num_levels`` times; UsageError for sizes below 1.

    >>> from lightning_flows.transforms import ActNorm, Conv1x1
    >>> step = lambda shape: [ActNorm(shape[0]), Conv1x1(shape[0])]
    >>> flow = MultiScaleFlow((3, 8, 8), step, 2, 4, DenseSizes(width=8, depth=1, growth=4))
    >>> flow.latent_shapes  # half of the channels of the first level are factored out
    [(6, 4, 4), (24, 2, 2)]
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        step: Step,
        num_levels: int,
        steps_per_level: int,
        split: DenseSizes,
        *,
        start: Step = lambda shape: [],
    ) -> None:
        check_sizes(num_levels=num_levels, steps_per_level=steps_per_level)
        divisor = 2 ** min(num_levels, 64)  # no image is larger
        if len(event_shape) != 3:
            raise ShapeError(f"expected images (C, H, W); got {tuple(event_shape)}: use a flow of graphs for graphs")
        if event_shape[0] < 1 or event_shape[1] % divisor or event_shape[2] % divisor:
            raise ShapeError(
                f"expected images (C, H, W) whose height and width are multiples of {divisor} for {num_levels} levels; "
                f"got {tuple(event_shape)}: resize the images or use fewer levels"
            )
        shape = tuple(event_shape)
        levels = []
        for level in range(num_levels):
            squeeze = Squeeze()
            shape = squeeze.output_shape(shape)
            layers: list[Transform] = [squeeze] if level else [Affine(shift=128.0, scale=256.0), squeeze, *start(shape)]
            layers += [Compose(step(shape)) for _ in range(steps_per_level)]
            if level < num_levels - 1:
                layers.append(dense_coupling(shape[0], split))
                shape = (shape[0] // 2, *shape[1:])
            levels.append(Compose(layers))
        super().__init__(levels, event_shape=event_shape)


def dense_coupling(channels: int, sizes: DenseSizes) -> AffineCoupling:
    """Affine coupling conditioned by a gated dense net."""
    kept = channels // 2
    return AffineCoupling(channels, DenseNet(kept, 2 * (channels - kept), sizes))
