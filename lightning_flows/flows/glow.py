"""The flow of section 6.1: affine couplings with an invertible linear layer between them."""

from collections.abc import Sequence

from lightning_flows.flows.multiscale import MultiScaleFlow, dense_coupling
from lightning_flows.nets import DenseSizes
from lightning_flows.transforms import Transform, mixing_layer
from lightning_flows.transforms.image.mixing import Mixing


class GlowFlow(MultiScaleFlow):
    r"""Affine couplings with a linear mixing layer: [coupling, mixing] steps on several levels, mixing first.

    .. math:: z = W y, \qquad y_1 = x_1, \quad y_2 = x_2\,e^{\ell(x_1)} + t(x_1)

    W is the mixing layer: a 1x1 convolution, and the linear map of pixels that follows it, if any.

    Couplings and split priors are conditioned by gated dense nets. Defaults are the paper's model for 32x32 images.

    Args:
        event_shape: shape (C, H, W) of the images.
        mixing: mixing layer: ``conv1x1``, ``emerging``, ``woodbury`` or ``conv_exponential``.
        num_levels: number of levels; each halves height and width.
        steps_per_level: number of steps per level.
        net: sizes of the dense nets.
        exponential_max_norm: largest norm of the exponential's convolution.
        woodbury_rank: rank of the Woodbury layer over positions.

    Shapes: x ``(B, C, H, W)``.
    Raises: as :class:`MultiScaleFlow`.
    Source: section 6.1 of the paper; Kingma and Dhariwal, Glow, 2018.

    >>> import torch
    >>> from lightning_flows.nets import DenseSizes
    >>> net = DenseSizes(width=8, depth=1, growth=4)
    >>> flow = GlowFlow((3, 8, 8), mixing="emerging", num_levels=2, steps_per_level=1, net=net).eval()
    >>> x = 256 * torch.rand(2, 3, 8, 8)
    >>> latents = flow.encode(x)
    >>> [z.shape[1:] for z in latents], torch.allclose(flow.decode(latents), x, atol=0.1)
    ([torch.Size([6, 4, 4]), torch.Size([24, 2, 2])], True)
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        *,
        mixing: Mixing = "conv_exponential",
        num_levels: int = 2,
        steps_per_level: int = 10,
        net: DenseSizes = DenseSizes(),
        exponential_max_norm: float = 0.95,
        woodbury_rank: int = 24,
    ) -> None:
        def mix(shape: tuple[int, ...]) -> list[Transform]:
            return [mixing_layer(mixing, shape, exponential_max_norm=exponential_max_norm, woodbury_rank=woodbury_rank)]

        def step(shape: tuple[int, ...]) -> list[Transform]:
            return [dense_coupling(shape[0], net), *mix(shape)]

        super().__init__(event_shape, step, num_levels, steps_per_level, net, start=mix)
