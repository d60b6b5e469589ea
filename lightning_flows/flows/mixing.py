"""The flow of section 6.1: affine couplings with a linear mixing layer between them."""

from collections.abc import Sequence

from lightning_flows.flows.builder import dense_coupling, multiscale_flow
from lightning_flows.flows.multiscale import MultiScaleFlow
from lightning_flows.transforms import Mixing, Transform, mixing_layer


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
    """:func:`multiscale_flow` of [coupling, mixing] steps, with a mixing layer at the start too.

    Couplings and split priors are conditioned by gated dense nets. Defaults are the paper's model for 32x32 images.

    Shapes: x ``(B, *event_shape)`` with event_shape (C, H, W).
    Raises: ShapeError if height or width cannot be halved ``num_levels`` times; ValueError for no steps.
    """

    def mixed(shape: Sequence[int]) -> list[Transform]:
        options = {"exponential_coefficient": exponential_coefficient, "woodbury_rank": woodbury_rank}
        return [mixing_layer(mixing, shape, **options)]  # type: ignore[arg-type]

    return multiscale_flow(
        event_shape,
        lambda shape: [dense_coupling(shape[0], width, depth, growth), *mixed(shape)],
        num_levels=num_levels,
        steps_per_level=steps_per_level,
        split_width=width,
        split_depth=depth,
        split_growth=growth,
        start=mixed,
    )
