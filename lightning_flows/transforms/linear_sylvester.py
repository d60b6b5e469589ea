"""The function of original Sylvester flows, with convolutions."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_flows.functional.masks import causal_mask
from lightning_flows.functional.precision import full_precision
from lightning_flows.nets.spectral_norm import default_kernel


class LinearSylvesterFunction(nn.Module):
    r"""One hidden layer between two triangular convolutions, and the diagonal of its Jacobian.

    .. math:: f(y) = R_2 \tanh(p), \quad p = R_1 (y + b), \qquad
              \partial f_i/\partial y_i = \tanh(d_1)_c \tanh(d_2)_c\,(1 - \tanh^2 p_i) \in (-1, 1)

    R₁ and R₂ are causal 3x3 convolutions with the diagonals tanh(d₁) and tanh(d₂); off the diagonal they share one
    kernel, R₂ with its channels and its spatial axes exchanged. In :class:`GeneralizedSylvester` this is the ablation
    "without f_AR", the closest convolutional form of van den Berg et al., Sylvester Normalizing Flows, 2018.

    Shapes: y ``(B, *event_shape)`` with event_shape (C, H, W); returns f(y) and the diagonal, of y's shape.
    """

    mask: Tensor

    def __init__(self, event_shape: Sequence[int]) -> None:
        super().__init__()
        channels = event_shape[0]
        self.weight = nn.Parameter(0.1 * default_kernel(channels, channels, 3, 3))
        self.diagonal1, self.diagonal2 = nn.Parameter(torch.zeros(channels)), nn.Parameter(torch.zeros(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        mask = causal_mask(channels, channels, kernel_size=3, strict=True)
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """f(y) and its Jacobian's diagonal."""
        with full_precision(y):  # there is no net here: all of it enters what is inverted, or the log-determinant
            d1, d2 = torch.tanh(self.diagonal1), torch.tanh(self.diagonal2)
            r1 = self._kernel(self.weight, d1)
            r2 = self._kernel(self.weight.permute(1, 0, 3, 2), d2)
            h = torch.tanh(_convolve(y + self.bias[:, None, None], r1))
            return _convolve(h, r2), (d1 * d2)[:, None, None] * (1 - h * h)

    def _kernel(self, weight: Tensor, diagonal: Tensor) -> Tensor:
        center = F.pad(torch.diag(diagonal)[:, :, None, None], (1, 1, 0, 1))
        return weight[:, :, 1:] * self.mask + center


def _convolve(x: Tensor, kernel: Tensor) -> Tensor:
    """The two lower rows of a 3x3 kernel."""
    return F.conv2d(F.pad(x, (1, 1, 0, 1)), kernel.contiguous(memory_format=torch.channels_last))
