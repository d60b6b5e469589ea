"""Activation normalization: a data-dependent start for each channel."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lightning_flows.functional.ranks import sum_over_ranks
from lightning_flows.transforms.base import Transform, check_input, zero_log_det


class InitializedOnce(nn.Module):
    """Remembers in its state whether a first batch has set it, so that a loaded checkpoint is not set again."""

    initialized: Tensor

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.register_buffer("initialized", torch.tensor(False))
        self._seen_initialized = False

    @property
    def is_initialized(self) -> bool:
        """The buffer's value, read from the device until it is true, since weight averaging updates it in place."""
        if not self._seen_initialized and not self.initialized.is_meta:
            self._seen_initialized = bool(self.initialized)
        return self._seen_initialized

    def set_initialized(self) -> None:
        """Mark as initialized."""
        self.initialized.fill_(True)
        self._seen_initialized = True

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        self._seen_initialized = bool(state_dict.get(prefix + "initialized", self._seen_initialized))


def shift_and_log_scale(count: Tensor, mean: Tensor, squares: Tensor) -> tuple[Tensor, Tensor]:
    """Initial shift and log-scale of an activation normalization, from count, mean and sum of squared deviations.

    Constant values, as in a batch of a single value, keep scale 1: dividing by a standard deviation of nearly zero
    would blow up the next batch.
    """
    std = (squares / (count - 1).clamp(min=1)).sqrt()
    varies = std > 16 * torch.finfo(std.dtype).eps * mean.abs().clamp(min=1)
    return torch.where(count > 0, mean, 0), torch.where(varies, std, 1).log()


class ActNorm(InitializedOnce, Transform):
    r"""Shift and scale each channel; initialized by the first training batch to zero mean and unit variance.

    .. math:: z_c = (x_c - b_c)\,e^{-s_c}, \qquad \log|\det J| = -HW \sum_c s_c

    The first forward in train mode initializes b and s from the moments of the batch over all ranks; eval mode never
    does. Channels that are constant in that batch keep their scale. An empty batch does not initialize.

    Shapes: x, z ``(B, C, H, W)``; log_det ``(B,)`` in nats.
    Raises: ShapeError if x has another number of channels.
    Source: Kingma and Dhariwal, Glow, 2018, section 3.1.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.shift = nn.Parameter(torch.zeros(channels))
        self.log_scale = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(x − b) e^{−s}."""
        check_input(x, self.channels)
        if self.training and len(x) and not self.is_initialized:
            self._initialize(x)
        z = (x - self.shift[:, None, None]) * torch.exp(-self.log_scale)[:, None, None]
        return z, zero_log_det(x) - self._log_volume(x)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Undo: z e^{s} + b."""
        check_input(z, self.channels)
        x = z * torch.exp(self.log_scale)[:, None, None] + self.shift[:, None, None]
        return x, zero_log_det(z) + self._log_volume(z)

    def _log_volume(self, x: Tensor) -> Tensor:
        return x.shape[2] * x.shape[3] * self.log_scale.sum()

    @torch.no_grad()
    def _initialize(self, x: Tensor) -> None:
        count = sum_over_ranks(torch.tensor(float(x.shape[0] * x.shape[2] * x.shape[3]), device=x.device))
        mean = sum_over_ranks(x.sum((0, 2, 3))) / count.clamp(min=1)
        squares = sum_over_ranks((x - mean[:, None, None]).square().sum((0, 2, 3)))
        shift, log_scale = shift_and_log_scale(count, mean, squares)
        self.shift.copy_(shift)
        self.log_scale.copy_(log_scale)
        self.set_initialized()
