"""The residual flow of section 6.2."""

import itertools
from collections.abc import Sequence
from typing import Literal

from lightning_flows.errors import check_sizes
from lightning_flows.flows.multiscale import MultiScaleFlow
from lightning_flows.nets import DenseSizes, LipschitzConvNet
from lightning_flows.transforms import ActNorm, ResidualBlock, Transform


class ResidualFlow(MultiScaleFlow):
    r"""Residual flow: [actnorm, residual block] steps on several levels.

    .. math:: z = y + g(y), \qquad y = \frac{x - b}{e^s}, \qquad \operatorname{Lip}(g) < 1

    Args:
        event_shape: shape (C, H, W) of the images.
        hidden_channels: width of the residual nets.
        max_norm: largest norm of each convolution, below 1.
        gradient: gradient of the log-determinant; ``neumann`` saves memory, ``autograd`` differentiates the series.
        eval_terms: terms of the series in eval mode.
        eval_probes: probes per trace in eval mode; at least two for a standard error.
        exact_dims: blocks of up to this many dimensions evaluate the determinant of the full Jacobian in eval mode; in
            training up to 64.
        num_levels: number of levels; each halves height and width.
        steps_per_level: number of steps per level.
        split: sizes of the dense nets that condition split priors.

    Shapes: x ``(B, C, H, W)``.
    Raises: as :class:`MultiScaleFlow`.
    Source: section 6.2 of the paper; Chen et al., Residual Flows, 2019.

    >>> import torch
    >>> net = DenseSizes(width=8, depth=1, growth=4)
    >>> flow = ResidualFlow((3, 8, 8), hidden_channels=8, num_levels=2, steps_per_level=1, split=net).eval()
    >>> terms = flow.log_prob_terms(256 * torch.rand(2, 3, 8, 8))
    >>> [report.num_terms for report in terms.reports]  # of the series of each block, in eval mode
    [20, 20]
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        *,
        hidden_channels: int = 528,
        max_norm: float = 0.98,
        gradient: Literal["neumann", "autograd"] = "neumann",
        eval_terms: int = 20,
        eval_probes: int = 4,
        exact_dims: int = 64,
        num_levels: int = 3,
        steps_per_level: int = 16,
        split: DenseSizes = DenseSizes(),
    ) -> None:
        check_sizes(hidden_channels=hidden_channels)
        seeds = itertools.count()  # different probes in each block make their errors independent

        def step(shape: tuple[int, ...]) -> list[Transform]:
            net = LipschitzConvNet(shape, hidden_channels, max_norm=max_norm)
            block = ResidualBlock(
                net,
                gradient=gradient,
                eval_terms=eval_terms,
                eval_probes=eval_probes,
                probe_seed=next(seeds),
                eval_exact_dims=exact_dims,
            )
            return [ActNorm(shape[0]), block]

        super().__init__(event_shape, step, num_levels, steps_per_level, split)
