"""The steps that section 6.2 compares, for :func:`multiscale_flow`."""

import itertools
from collections.abc import Sequence
from typing import Literal

from lightning_flows.errors import UsageError
from lightning_flows.flows.builder import Step, multiscale_flow
from lightning_flows.flows.multiscale import MultiScaleFlow
from lightning_flows.nets import AutoregressiveConvNet, ConvNet, LipschitzConvNet
from lightning_flows.transforms import (
    ActNorm,
    AffineCoupling,
    Conv1x1,
    ConvExponential,
    ConvSylvester,
    Flip,
    GeneralizedSylvester,
    Householder,
    LinearCompose,
    LinearSylvesterFunction,
    ResidualBlock,
    SylvesterFunction,
    Transform,
)

Ablation = Literal["none", "without_far", "without_basis"]
"""Parts that Table 3 leaves out of a Sylvester layer: its autoregressive function, or its change of basis."""


def conv_sylvester_flow(
    event_shape: Sequence[int],
    *,
    num_levels: int = 3,
    steps_per_level: int = 16,
    hidden_channels: int = 528,
    exponential_coefficient: float = 0.95,
    net_coefficient: float | None = 1.5,
    ablation: Ablation = "none",
    split_width: int = 64,
    split_depth: int = 8,
    split_growth: int = 63,
) -> MultiScaleFlow:
    """Multi-scale flow of [actnorm, Sylvester layer, flip] steps. Defaults are the paper's model for 32x32 images.

    Shapes: x ``(B, *event_shape)`` with event_shape (C, H, W).
    Raises: ShapeError if height or width cannot be halved ``num_levels`` times; ValueError for counts below 1.
    """

    def step(shape: tuple[int, ...]) -> list[Transform]:
        layer = sylvester_layer(
            shape,
            hidden_channels,
            exponential_coefficient=exponential_coefficient,
            net_coefficient=net_coefficient,
            ablation=ablation,
        )
        return [ActNorm(shape[0]), layer, Flip()]

    return _flow(
        event_shape, step, hidden_channels, num_levels, steps_per_level, split_width, split_depth, split_growth
    )


def sylvester_layer(
    event_shape: Sequence[int],
    hidden_channels: int,
    *,
    exponential_coefficient: float = 0.95,
    net_coefficient: float | None = 1.5,
    ablation: Ablation = "none",
) -> GeneralizedSylvester:
    """A Convolutional Sylvester layer, whole or with a part left out. Raises: UsageError for another ablation."""
    if ablation == "none":
        return ConvSylvester(
            event_shape,
            hidden_channels,
            exponential_coefficient=exponential_coefficient,
            net_coefficient=net_coefficient,
        )
    if ablation == "without_basis":
        net = AutoregressiveConvNet(event_shape, hidden_channels, coefficient=net_coefficient)
        return GeneralizedSylvester(LinearCompose([]), SylvesterFunction(net))
    if ablation == "without_far":
        basis = [Householder(event_shape[0]), ConvExponential(event_shape, coefficient=exponential_coefficient)]
        return GeneralizedSylvester(LinearCompose(basis), LinearSylvesterFunction(event_shape))
    raise UsageError(f"expected an ablation among none, without_far, without_basis; got {ablation}")


def coupling_flow(
    event_shape: Sequence[int],
    *,
    num_levels: int = 3,
    steps_per_level: int = 16,
    hidden_channels: int = 528,
    split_width: int = 64,
    split_depth: int = 8,
    split_growth: int = 63,
) -> MultiScaleFlow:
    """Multi-scale flow of [actnorm, 1x1 convolution, affine coupling] steps with plain convolutional nets.

    Shapes, errors: as :func:`conv_sylvester_flow`.
    """

    def step(shape: tuple[int, ...]) -> list[Transform]:
        channels, kept = shape[0], shape[0] // 2
        net = ConvNet(kept, 2 * (channels - kept), hidden_channels=hidden_channels)
        return [ActNorm(channels), Conv1x1(channels), AffineCoupling(channels, net, bound=0.5, slope=1.0)]

    return _flow(
        event_shape, step, hidden_channels, num_levels, steps_per_level, split_width, split_depth, split_growth
    )


def residual_flow(
    event_shape: Sequence[int],
    *,
    num_levels: int = 3,
    steps_per_level: int = 16,
    hidden_channels: int = 528,
    coefficient: float = 0.98,
    gradient: Literal["neumann", "autograd"] = "neumann",
    eval_terms: int = 20,
    eval_probes: int = 4,
    split_width: int = 64,
    split_depth: int = 8,
    split_growth: int = 63,
) -> MultiScaleFlow:
    """Multi-scale flow of [actnorm, residual block] steps.

    Shapes, errors: as :func:`conv_sylvester_flow`; ``coefficient`` is the largest norm of each convolution, below 1.
    """

    seeds = itertools.count()  # a block of its own probes: their errors are independent

    def step(shape: tuple[int, ...]) -> list[Transform]:
        net = LipschitzConvNet(shape, hidden_channels, coefficient=coefficient)
        block = ResidualBlock(
            net, gradient=gradient, eval_terms=eval_terms, eval_probes=eval_probes, probe_seed=next(seeds)
        )
        return [ActNorm(shape[0]), block]

    return _flow(
        event_shape, step, hidden_channels, num_levels, steps_per_level, split_width, split_depth, split_growth
    )


def _flow(
    event_shape: Sequence[int],
    step: Step,
    hidden_channels: int,
    num_levels: int,
    steps_per_level: int,
    split_width: int,
    split_depth: int,
    split_growth: int,
) -> MultiScaleFlow:
    if hidden_channels < 1:
        raise UsageError(f"expected hidden_channels of at least 1; got {hidden_channels}")
    return multiscale_flow(
        event_shape,
        step,
        num_levels=num_levels,
        steps_per_level=steps_per_level,
        split_width=split_width,
        split_depth=split_depth,
        split_growth=split_growth,
    )
