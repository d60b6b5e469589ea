"""What the flows of the paper have in common: levels of equal steps, with a split prior between them."""

from collections.abc import Callable, Sequence

from lightning_flows.errors import ShapeError, UsageError
from lightning_flows.flows.split_prior import SplitPrior
from lightning_flows.nets.convnet import DenseNet
from lightning_flows.transforms import Affine, AffineCoupling, Compose, Squeeze, Transform

Step = Callable[[tuple[int, ...]], Sequence[Transform]]
"""The transforms of one step on events of a shape."""


def multiscale_layers(
    event_shape: Sequence[int],
    step: Step,
    *,
    num_levels: int,
    steps_per_level: int,
    split_width: int,
    split_depth: int,
    split_growth: int,
    start: Step = lambda shape: [],
) -> tuple[list[Transform], list[SplitPrior]]:
    """Levels and split priors of a :class:`MultiScaleFlow`.

    Each level is a squeeze and ``steps_per_level`` steps; ``start`` comes once, after the first squeeze.
    Pixels x of 0 to 256 are normalized first. After each level but the last, half of the channels is factored out to a
    Gaussian conditioned by a gated dense net.

    Shapes: x ``(B, *event_shape)`` with event_shape (C, H, W).
    Raises: ShapeError if height or width cannot be halved ``num_levels`` times; ValueError for counts below 1.
    """
    _check(event_shape, num_levels, steps_per_level)
    if min(split_width, split_growth) < 1 or split_depth < 0:
        raise UsageError(
            f"expected split_width and split_growth of at least 1 and a split_depth of at least 0; got {split_width}, "
            f"{split_growth} and {split_depth}"
        )
    shape = tuple(event_shape)
    levels: list[Transform] = []
    splits: list[SplitPrior] = []
    for level in range(num_levels):
        squeeze = Squeeze()
        shape = squeeze.output_shape(shape)
        before = [squeeze] if level else [Affine(shift=128.0, scale=256.0), squeeze, *start(shape)]
        steps = [transform for _ in range(steps_per_level) for transform in step(shape)]
        levels.append(Compose([*before, *steps]))
        if level < num_levels - 1:
            splits.append(SplitPrior(dense_coupling(shape[0], split_width, split_depth, split_growth)))
            shape = splits[-1].split_shape(shape)[0]
    return levels, splits


def dense_coupling(channels: int, width: int, depth: int, growth: int) -> AffineCoupling:
    """Affine coupling conditioned by a gated dense net."""
    kept = channels // 2
    return AffineCoupling(channels, DenseNet(kept, 2 * (channels - kept), width=width, depth=depth, growth=growth))


def check_hidden_channels(hidden_channels: int) -> None:
    """Raise UsageError for less than one."""
    if hidden_channels < 1:
        raise UsageError(f"expected hidden_channels of at least 1; got {hidden_channels}")


def _check(event_shape: Sequence[int], num_levels: int, steps_per_level: int) -> None:
    if min(num_levels, steps_per_level) < 1:
        raise UsageError(f"expected at least one level and one step; got {num_levels} and {steps_per_level}")
    divisor = 2 ** min(num_levels, 64)  # no image is larger
    if len(event_shape) != 3 or event_shape[0] < 1 or event_shape[1] % divisor or event_shape[2] % divisor:
        raise ShapeError(
            f"expected images (C, H, W) whose height and width are multiples of {divisor} for {num_levels} levels; "
            f"got {tuple(event_shape)}: resize the images or use fewer levels"
        )
