"""The Convolutional Sylvester Flow."""

from collections.abc import Sequence
from typing import Literal

from lightning_flows.errors import UsageError
from lightning_flows.flows.multiscale import MultiScaleFlow
from lightning_flows.nets import AutoregressiveConvNet, DenseSizes, LinearSylvesterFunction, SylvesterFunction
from lightning_flows.transforms import (
    ActNorm,
    ConvExponential,
    ConvSylvester,
    Flip,
    GeneralizedSylvester,
    Householder,
    LinearCompose,
    Transform,
)

Ablation = Literal["none", "no_autoregressive", "no_basis"]
"""Ablations of Table 3: no autoregressive function, or no change of basis."""


class ConvSylvesterFlow(MultiScaleFlow):
    r"""Convolutional Sylvester Flow: [actnorm, Sylvester layer, flip] steps on several levels.

    .. math:: z = y + W^{-1} f(Wy), \qquad y = \frac{x - b}{e^s}, \qquad W = \exp(M)\,Q

    f is autoregressive, M a convolution, and Q a product of reflections of each pixel's channels.

    Defaults are the paper's model for 32x32 images.

    Args:
        event_shape: shape (C, H, W) of the images.
        hidden_channels: width of the autoregressive nets.
        exponential_max_norm: largest norm of the exponential's convolution.
        net_max_norm: largest norm of each masked convolution; None for no bound.
        ablation: component to remove from each layer, as in Table 3.
        num_levels: number of levels; each halves height and width.
        steps_per_level: number of steps per level.
        split: sizes of the dense nets that condition split priors.

    Shapes: x ``(B, C, H, W)``.
    Raises: as :class:`MultiScaleFlow`.
    Source: section 6.2 of the paper.

    >>> import torch
    >>> net = DenseSizes(width=8, depth=1, growth=4)
    >>> flow = ConvSylvesterFlow((3, 8, 8), hidden_channels=12, num_levels=2, steps_per_level=1, split=net).eval()
    >>> x = 256 * torch.rand(2, 3, 8, 8)
    >>> flow(x).shape, torch.allclose(flow.decode(flow.encode(x)), x, atol=0.1), flow.sample(5).shape
    (torch.Size([2]), True, torch.Size([5, 3, 8, 8]))
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        *,
        hidden_channels: int = 528,
        exponential_max_norm: float = 0.95,
        net_max_norm: float | None = 1.5,
        ablation: Ablation = "none",
        num_levels: int = 3,
        steps_per_level: int = 16,
        split: DenseSizes = DenseSizes(),
    ) -> None:
        def step(shape: tuple[int, ...]) -> list[Transform]:
            layer = sylvester_layer(
                shape,
                hidden_channels,
                exponential_max_norm=exponential_max_norm,
                net_max_norm=net_max_norm,
                ablation=ablation,
            )
            return [ActNorm(shape[0]), layer, Flip()]

        super().__init__(event_shape, step, num_levels, steps_per_level, split)


def sylvester_layer(
    event_shape: Sequence[int],
    hidden_channels: int,
    *,
    exponential_max_norm: float = 0.95,
    net_max_norm: float | None = 1.5,
    ablation: Ablation = "none",
) -> GeneralizedSylvester:
    r"""Convolutional Sylvester layer, complete or ablated. Raises: UsageError for an unknown ablation.

    .. math:: z = x + W^{-1} f(Wx), \qquad W = \exp(M)\,Q

    Shapes: x, z ``(B, C, H, W)`` with event_shape (C, H, W).

    >>> sylvester_layer((4, 8, 8), 12, ablation="no_basis").basis
    LinearCompose(
      (transforms): ModuleList()
    )
    >>> sylvester_layer((4, 8, 8), 12, ablation="no_autoregressive").function
    LinearSylvesterFunction(channels=4)
    """
    if ablation == "none":
        return ConvSylvester(
            event_shape,
            hidden_channels,
            exponential_max_norm=exponential_max_norm,
            net_max_norm=net_max_norm,
        )
    if ablation == "no_basis":
        net = AutoregressiveConvNet(event_shape, hidden_channels, max_norm=net_max_norm)
        return GeneralizedSylvester(LinearCompose([]), SylvesterFunction(net))
    if ablation == "no_autoregressive":
        basis = [Householder(event_shape[0]), ConvExponential(event_shape, max_norm=exponential_max_norm)]
        return GeneralizedSylvester(LinearCompose(basis), LinearSylvesterFunction(event_shape))
    raise UsageError(f"expected an ablation among none, no_autoregressive, no_basis; got {ablation!r}")
