"""Autoregressive functions of Sylvester layers; each returns f(y) and the diagonal of its Jacobian."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_flows.errors import UsageError
from lightning_flows.functional.precision import full_precision
from lightning_flows.functional.shapes import image_shape
from lightning_flows.nets.fronts import FrontSolver
from lightning_flows.nets.gated_net import Gated, Pair, gated_net
from lightning_flows.nets.masked_conv import AutoregressiveConvNet, BoundNet, causal_mask
from lightning_flows.nets.spectral_norm import bind, default_kernel


class SylvesterFunction(nn.Module):
    r"""The autoregressive function of section 4.1 and the diagonal of its Jacobian.

    .. math:: f(y) = \gamma\, s_2 \tanh(y\, s_1 + t_1) + t_2, \qquad
              \partial f_i/\partial y_i = \gamma\, s_2 s_1 (1 - \tanh^2(y\, s_1 + t_1)) \in (-\gamma, \gamma)

    t₁, t₂ and the arguments a₁, a₂ of s = tanh(a) are strictly autoregressive functions of y: ``net(y)`` returns the
    four tensors (t₁, a₁, t₂, a₂). Shapes: y, these, f(y) and the diagonal ``(B, *event)``. A context is passed on
    to a net that takes one: ``net.num_parameters`` is its length, absent or 0 for other nets.

    >>> from lightning_flows.nets.made import MADE
    >>> function = SylvesterFunction(MADE(3, 8, num_outputs=4), gamma=0.5)
    >>> f, diagonal = function(torch.randn(5, 3))
    >>> f.shape, bool((diagonal.abs() < 0.5).all())
    (torch.Size([5, 3]), True)
    """

    def __init__(self, net: nn.Module, *, gamma: float = 0.5) -> None:
        super().__init__()
        if not 0 < gamma < 1:
            raise UsageError(f"expected gamma between 0 and 1; got {gamma}")
        self.net, self.gamma = net, gamma
        self.num_parameters = int(getattr(net, "num_parameters", 0))

    def bind(self, *, update: bool = False) -> Callable[..., Pair]:
        """Return the function with the net's effective parameters evaluated once."""
        return self._of(bind(self.net, update=update))

    def bind_with_solver(self) -> tuple[Callable[..., Pair], FrontSolver | None]:
        """As :meth:`bind`, with a solver of y + f(y) = v that uses the same kernels; None for other nets."""
        if type(self.net) is not AutoregressiveConvNet:
            return self.bind(), None
        net, kernels = self.net.bind_kernels()
        return self._of(net), FrontSolver.from_kernels(kernels, self.gamma)

    def _of(self, net: BoundNet | Callable[..., tuple[Tensor, ...]]) -> Callable[..., Pair]:
        def apply(y: Tensor, *context: Tensor) -> Pair:
            if isinstance(net, BoundNet):
                return gated_net(y, net, self.gamma)
            return Gated.apply(y, *net(y, *context), self.gamma)

        return apply

    def forward(self, y: Tensor, *context: Tensor) -> Pair:
        return self.bind(update=True)(y, *context)

    def extra_repr(self) -> str:
        return f"gamma={self.gamma}"


class LinearSylvesterFunction(nn.Module):
    r"""One hidden layer between two triangular convolutions, and the diagonal of its Jacobian.

    .. math:: f(y) = R_2 \tanh(p), \quad p = R_1 (y + b), \qquad
              \partial f_i/\partial y_i = \tanh(d_1)_c \tanh(d_2)_c\,(1 - \tanh^2 p_i) \in (-1, 1)

    R₁ and R₂ are causal 3x3 convolutions with the diagonals tanh(d₁) and tanh(d₂); off the diagonal they share one
    kernel, R₂ with its channels and its spatial axes exchanged. In :class:`GeneralizedSylvester` this is the ablation
    "without f_AR", the closest convolutional form of van den Berg et al., Sylvester Normalizing Flows, 2018.

    Shapes: y ``(B, *event_shape)`` with event_shape (C, H, W); returns f(y) and the diagonal, of y's shape.

    >>> f, diagonal = LinearSylvesterFunction((2, 4, 4))(torch.randn(5, 2, 4, 4))
    >>> f.shape, bool((diagonal.abs() < 1).all())
    (torch.Size([5, 2, 4, 4]), True)
    """

    mask: Tensor

    def __init__(self, event_shape: Sequence[int]) -> None:
        super().__init__()
        channels, *_ = image_shape(event_shape)
        self.weight = nn.Parameter(0.1 * default_kernel(channels, channels, 3, 3))
        self.diagonal1, self.diagonal2 = nn.Parameter(torch.zeros(channels)), nn.Parameter(torch.zeros(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        mask = causal_mask(channels, channels, kernel_size=3, strict=True)
        self.register_buffer("mask", mask, persistent=False)

    def bind(self, *, update: bool = False) -> Callable[[Tensor], Pair]:
        """Return the function with R₁ and R₂ evaluated once."""
        d1, d2 = torch.tanh(self.diagonal1), torch.tanh(self.diagonal2)
        r1 = self._kernel(self.weight, d1)
        r2 = self._kernel(self.weight.permute(1, 0, 3, 2), d2)

        def apply(y: Tensor) -> Pair:
            with full_precision(y):  # all of it enters the inverse or the log-determinant
                h = torch.tanh(_convolve(y + self.bias[:, None, None], r1))
                return _convolve(h, r2), (d1 * d2)[:, None, None] * (1 - h * h)

        return apply

    def forward(self, y: Tensor) -> Pair:
        return self.bind()(y)

    def _kernel(self, weight: Tensor, diagonal: Tensor) -> Tensor:
        center = F.pad(torch.diag(diagonal)[:, :, None, None], (1, 1, 0, 1))
        return weight[:, :, 1:] * self.mask + center

    def extra_repr(self) -> str:
        return f"channels={len(self.bias)}"


def _convolve(x: Tensor, kernel: Tensor) -> Tensor:
    """Convolve with the two lower rows of a 3x3 kernel."""
    return F.conv2d(F.pad(x, (1, 1, 0, 1)), kernel.contiguous(memory_format=torch.channels_last))
