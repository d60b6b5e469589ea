"""The Convolutional Sylvester Flow of section 6.2."""

from collections.abc import Sequence

from lightning_flows.errors import ShapeError
from lightning_flows.flows.multiscale import MultiScaleFlow
from lightning_flows.flows.split_prior import SplitPrior
from lightning_flows.nets.densenet import DenseNet
from lightning_flows.transforms import ActNorm, Affine, AffineCoupling, Compose, ConvSylvester, Flip, Squeeze, Transform


def conv_sylvester_flow(
    event_shape: Sequence[int],
    *,
    num_levels: int = 3,
    steps_per_level: int = 16,
    hidden_channels: int = 528,
    exponential_coefficient: float = 0.95,
    net_coefficient: float | None = 1.5,
    split_width: int = 64,
    split_depth: int = 8,
    split_growth: int = 63,
) -> MultiScaleFlow:
    """Multi-scale flow of [actnorm, Sylvester layer, flip] steps; each level begins with a squeeze.

    Pixels x of 0 to 256 are normalised first. After each level but the last, half of the channels is factored out to
    a Gaussian conditioned by a dense net. Defaults are the paper's model for 32x32 pictures.

    Shapes: x ``(B, *event_shape)`` with event_shape (C, H, W).
    Raises: ShapeError if height or width cannot be halved ``num_levels`` times; ValueError for counts below 1.
    """
    check_multiscale_shape(event_shape, num_levels)
    if min(steps_per_level, hidden_channels) < 1:
        raise ValueError(
            f"expected steps_per_level and hidden_channels of at least 1; got {steps_per_level} and {hidden_channels}"
        )
    shape = tuple(event_shape)
    levels: list[Transform] = []
    splits: list[SplitPrior] = []
    for level in range(num_levels):
        transforms: list[Transform] = [Affine(shift=128.0, scale=256.0)] if level == 0 else []
        transforms.append(Squeeze())
        shape = transforms[-1].output_shape(shape)
        for _ in range(steps_per_level):
            sylvester = ConvSylvester(
                shape,
                hidden_channels,
                exponential_coefficient=exponential_coefficient,
                net_coefficient=net_coefficient,
            )
            transforms += [ActNorm(shape[0]), sylvester, Flip()]
        levels.append(Compose(transforms))
        if level < num_levels - 1:
            kept = shape[0] // 2
            net = DenseNet(kept, 2 * (shape[0] - kept), width=split_width, depth=split_depth, growth=split_growth)
            splits.append(SplitPrior(AffineCoupling(shape[0], net)))
            shape = splits[-1].split_shape(shape)[0]
    return MultiScaleFlow(levels, splits, event_shape)


def check_multiscale_shape(event_shape: Sequence[int], num_levels: int) -> None:
    """Raise ShapeError unless pictures (C, H, W) can be squeezed once a level."""
    if num_levels < 1:
        raise ValueError(f"expected at least one level; got {num_levels}")
    divisor = 2**num_levels
    if len(event_shape) != 3 or event_shape[0] < 1 or event_shape[1] % divisor or event_shape[2] % divisor:
        raise ShapeError(
            f"expected pictures (C, H, W) whose height and width are multiples of {divisor} for {num_levels} levels; "
            f"got {tuple(event_shape)}: resize the pictures or use fewer levels"
        )
