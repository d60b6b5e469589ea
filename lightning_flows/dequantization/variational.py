"""Variational dequantization: noise from a conditional flow."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_flows.dequantization.base import Dequantization
from lightning_flows.distributions import DiagonalGaussian
from lightning_flows.errors import check_sizes
from lightning_flows.functional.recompute import Recomputation
from lightning_flows.nets import ContextNet, DenseNet, DenseSizes
from lightning_flows.transforms import AffineCoupling, Compose, Invert, Sigmoid, Squeeze, Transform, mixing_layer
from lightning_flows.transforms.image.mixing import Mixing


class VariationalDequantization(Dequantization):
    r"""u = σ(g(ε, c(x))) with normal noise ε, a flow g and a context c(x) of half the image's resolution.

    .. math:: \log q(u\mid x) = \log p_E(\varepsilon) - \log|\det \partial u/\partial\varepsilon|

    Toward ε, the flow is a squeeze, then ``num_steps`` affine couplings conditioned on c, with mixing layers around
    them. The mixing layers are inverted, so that drawing noise, which is all that training does, is their cheap
    direction.

    Args:
        event_shape: shape (C, H, W) of the images; H and W even.
        mixing: kind of the mixing layers, as in :func:`mixing_layer`.
        num_steps: number of couplings.
        net: sizes of their dense nets.
        context: sizes of the context net; its width is the number of channels of c(x).
        exponential_max_norm: largest norm of an exponential's convolution.
        woodbury_rank: rank of a Woodbury layer over positions.

    Shapes: noise ``(B, 4C, H/2, W/2)``, context ``(B, context.width, H/2, W/2)``.
    Source: Ho et al., Flow++, 2019, section 3.1; appendix C of the paper.

    >>> small = DenseSizes(width=8, depth=1, growth=4)
    >>> layer = VariationalDequantization((3, 8, 8), num_steps=1, net=small, context=small)
    >>> x = torch.randint(256, (2, 3, 8, 8), dtype=torch.uint8)
    >>> u, log_q = layer.sample(x)
    >>> layer.context(x).shape, bool(((0 <= u) & (u < 1)).all()), log_q.shape
    (torch.Size([2, 8, 4, 4]), True, torch.Size([2]))
    """

    noise_kind = "normal"

    def __init__(
        self,
        event_shape: Sequence[int],
        *,
        mixing: Mixing = "conv1x1",
        num_steps: int = 4,
        net: DenseSizes = DenseSizes(),
        context: DenseSizes = DenseSizes(width=32, depth=4, growth=32),
        exponential_max_norm: float = 0.95,
        woodbury_rank: int = 24,
    ) -> None:
        check_sizes(0, num_steps=num_steps)
        squeeze = Squeeze()
        shape = squeeze.output_shape(event_shape)
        super().__init__(event_shape)
        self.noise_shape = shape
        channels, kept = shape[0], shape[0] // 2
        self.context_net = ContextNet(event_shape[0], context)

        def mix() -> Transform:
            return Invert(
                mixing_layer(mixing, shape, exponential_max_norm=exponential_max_norm, woodbury_rank=woodbury_rank)
            )

        def couple() -> Transform:
            out_channels = 2 * (channels - kept)
            return AffineCoupling(channels, DenseNet(kept, out_channels, net, context_channels=context.width))

        steps = [Compose([couple(), mix()]) for _ in range(num_steps)]
        self.transforms = Compose([Invert(Sigmoid()), squeeze, mix(), *steps])
        self.base = DiagonalGaussian(shape)
        self.recomputation: Recomputation | None = None

    @property
    def recompute(self) -> bool:
        return self.recomputation is not None

    @recompute.setter
    def recompute(self, value: bool) -> None:
        self.recomputation = Recomputation("dequantization.") if value else None
        self.transforms.recompute = Recomputation("dequantization.transforms.transforms.") if value else None

    def context(self, x: Tensor) -> Tensor:
        pixels = (x.to(self.base.mean.dtype) - 128) / 256
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        if self.recomputation is None or not (self.training and torch.is_grad_enabled()):
            return self.context_net(pixels)
        return self.recomputation("context_net", self.context_net, "__call__", pixels)

    @property
    def noise_dtype(self) -> torch.dtype:  # type: ignore[override]
        """Dtype of the parameters."""
        return self.base.mean.dtype

    def transform(self, noise: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        latent = self.base.from_noise(noise).contiguous(memory_format=torch.channels_last)
        u, log_det = self.transforms.inverse(latent, context)
        u = u.clamp(max=1 - torch.finfo(u.dtype).eps / 2)  # σ of a large value rounds to 1
        return u, self.base.log_prob(latent) - log_det
