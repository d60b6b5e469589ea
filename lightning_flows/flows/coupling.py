"""The coupling baseline of section 6.2."""

from collections.abc import Sequence

from lightning_flows.errors import check_sizes
from lightning_flows.flows.multiscale import MultiScaleFlow
from lightning_flows.nets import ConvNet, DenseSizes
from lightning_flows.transforms import ActNorm, AffineCoupling, Conv1x1, Transform


class CouplingFlow(MultiScaleFlow):
    r"""Affine couplings with plain convolutional nets: [actnorm, 1x1 convolution, coupling] steps on several levels.

    .. math:: y = W\,\frac{x - b}{e^s}, \qquad z_1 = y_1, \quad z_2 = y_2\,e^{\ell(y_1)} + t(y_1)

    Args:
        event_shape: shape (C, H, W) of the images.
        hidden_channels: width of the couplings' nets.
        num_levels: number of levels; each halves height and width.
        steps_per_level: number of steps per level.
        split: sizes of the dense nets that condition split priors.

    Shapes: x ``(B, C, H, W)``.
    Raises: as :class:`MultiScaleFlow`.
    Source: section 6.2 of the paper; Dinh et al., RealNVP, 2017; Kingma and Dhariwal, Glow, 2018.

    >>> import torch
    >>> from lightning_flows.nets import DenseSizes
    >>> split = DenseSizes(width=8, depth=1, growth=4)
    >>> flow = CouplingFlow((3, 8, 8), num_levels=2, steps_per_level=1, split=split)
    >>> flow(256 * torch.rand(2, 3, 8, 8)).shape, flow.latent_shapes
    (torch.Size([2]), [(6, 4, 4), (24, 2, 2)])
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        *,
        hidden_channels: int = 528,
        num_levels: int = 3,
        steps_per_level: int = 16,
        split: DenseSizes = DenseSizes(),
    ) -> None:
        check_sizes(hidden_channels=hidden_channels)

        def step(shape: tuple[int, ...]) -> list[Transform]:
            channels, kept = shape[0], shape[0] // 2
            net = ConvNet(kept, 2 * (channels - kept), hidden_channels=hidden_channels)
            return [ActNorm(channels), Conv1x1(channels), AffineCoupling(channels, net, bound=0.5, slope=1.0)]

        super().__init__(event_shape, step, num_levels, steps_per_level, split)
