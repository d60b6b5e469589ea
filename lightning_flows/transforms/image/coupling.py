"""Affine coupling layers."""

import torch
from torch import Tensor, nn

from lightning_flows.errors import ShapeError
from lightning_flows.transforms.base import Result, Transform, sum_event


class AffineCoupling(Transform):
    r"""Scale and shift the second half of the channels by functions of the first.

    .. math:: z_1 = x_1, \quad z_2 = x_2\,e^{\ell} + t, \quad \ell = b \tanh(k a), \quad (a, t) = \mathrm{net}(x_1),
              \qquad \log|\det J| = \sum \ell

    The first ⌊C/2⌋ channels are kept. The net's ``2 * (C - C // 2)`` output channels alternate between a and t.
    ``bound`` is b, the largest log-scale, and ``slope`` is k. The net is called with x₁, and with the context if there
    is one.

    Shapes: x, z ``(B, C, H, W)``. Raises: ShapeError if the net's output has another shape.
    Source: Dinh et al., RealNVP, 2017, section 3.

    >>> from lightning_flows.nets import ConvNet
    >>> layer = AffineCoupling(4, ConvNet(2, 4, hidden_channels=8))  # such a net returns zeros until it is trained
    >>> x = torch.randn(2, 4, 8, 8)
    >>> z, log_det = layer(x)
    >>> torch.equal(z, x), log_det.tolist()
    (True, [0.0, 0.0])
    """

    def __init__(self, channels: int, net: nn.Module, *, bound: float = 2.0, slope: float = 0.5) -> None:
        if channels < 2:
            raise ShapeError(f"expected at least 2 channels to couple; got {channels}")
        super().__init__((channels, None, None))
        self.channels, self.kept = channels, channels // 2
        self.net = net
        self.bound, self.slope = bound, slope

    def forward(self, x: Tensor, context: Tensor | None = None) -> Result:
        x1, x2 = x[:, : self.kept], x[:, self.kept :]
        log_scale, shift = self._condition(x1, context)
        return torch.cat([x1, x2 * torch.exp(log_scale) + shift], dim=1), sum_event(log_scale)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Result:
        z1, z2 = z[:, : self.kept], z[:, self.kept :]
        log_scale, shift = self._condition(z1, context)
        return torch.cat([z1, (z2 - shift) * torch.exp(-log_scale)], dim=1), -sum_event(log_scale)

    def _condition(self, x1: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        h = (self.net(x1) if context is None else self.net(x1, context)).to(x1.dtype)
        expected = (2 * (self.channels - self.kept), *x1.shape[2:])
        if h.shape[1:] != expected:  # one channel or pixel would broadcast, with a wrong log-determinant
            raise ShapeError(f"expected a net with outputs of shape (B, *{expected}); got {tuple(h.shape)}")
        return self.bound * torch.tanh(self.slope * h[:, 0::2]), h[:, 1::2]

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, bound={self.bound}, slope={self.slope}"
