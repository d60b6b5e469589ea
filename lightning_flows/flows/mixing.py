"""The flow of section 6.1: affine couplings with a linear mixing layer between them."""

from collections.abc import Sequence

from lightning_flows.flows.csf import check_multiscale_shape
from lightning_flows.flows.multiscale import MultiScaleFlow
from lightning_flows.flows.split_prior import SplitPrior
from lightning_flows.nets.densenet import DenseNet
from lightning_flows.transforms import Affine, AffineCoupling, Compose, Mixing, Squeeze, Transform, mixing_layer


def mixing_flow(
    event_shape: Sequence[int],
    *,
    mixing: Mixing = "conv_exponential",
    num_levels: int = 2,
    steps_per_level: int = 10,
    width: int = 64,
    depth: int = 8,
    growth: int = 64,
    exponential_coefficient: float = 0.95,
    woodbury_rank: int = 24,
) -> MultiScaleFlow:
    """Multi-scale flow of [coupling, mixing] steps; each level begins with a squeeze, the first with a mixing too.

    Pixels x of 0 to 256 are normalised first. Couplings, and the Gaussian that half of the channels is factored out to
    after each level but the last, are conditioned by gated dense nets. Defaults are the paper's model for 32x32
    pictures.

    Shapes: x ``(B, *event_shape)`` with event_shape (C, H, W).
    Raises: ShapeError if height or width cannot be halved ``num_levels`` times; ValueError for no steps.
    """
    check_multiscale_shape(event_shape, num_levels)
    if steps_per_level < 1:
        raise ValueError(f"expected at least one step a level; got {steps_per_level}")

    def coupling(channels: int) -> AffineCoupling:
        kept = channels // 2
        return AffineCoupling(channels, DenseNet(kept, 2 * (channels - kept), width=width, depth=depth, growth=growth))

    def mixed(shape: Sequence[int]) -> Transform:
        return mixing_layer(mixing, shape, exponential_coefficient=exponential_coefficient, woodbury_rank=woodbury_rank)

    shape = tuple(event_shape)
    levels: list[Transform] = []
    splits: list[SplitPrior] = []
    for level in range(num_levels):
        squeeze = Squeeze()
        shape = squeeze.output_shape(shape)
        start: list[Transform] = [squeeze] if level else [Affine(shift=128.0, scale=256.0), squeeze, mixed(shape)]
        steps = [layer for _ in range(steps_per_level) for layer in (coupling(shape[0]), mixed(shape))]
        levels.append(Compose([*start, *steps]))
        if level < num_levels - 1:
            splits.append(SplitPrior(coupling(shape[0])))
            shape = splits[-1].split_shape(shape)[0]
    return MultiScaleFlow(levels, splits, event_shape)
