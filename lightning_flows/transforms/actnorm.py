"""Activation normalization: a shift and a scale per feature, initialized by the first training batch."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lightning_flows.functional.graphs import COMPLETE, Graph
from lightning_flows.functional.precision import full_precision
from lightning_flows.functional.ranks import num_ranks, sum_over_ranks
from lightning_flows.transforms.base import Result, Transform
from lightning_flows.transforms.graph.base import GraphTransform, keep_padding


class DataInitialized(Transform):
    r"""A shift b and log-scale s per feature, set by the first training batch to give zero mean and unit variance.

    The moments are those of the batch over all ranks. Constant features, as in a batch of one value, keep scale 1:
    dividing by a standard deviation of nearly zero would blow up the next batch. Empty batches initialize nothing.

    The buffer ``initialized`` is the only record, so a loaded, copied or averaged layer is not initialized again. It is
    read from the device once, and again after it has changed.
    """

    initialized: Tensor

    def __init__(self, features: int, event_shape: Sequence[int | None]) -> None:
        super().__init__(event_shape)
        self.shift, self.log_scale = nn.Parameter(torch.zeros(features)), nn.Parameter(torch.zeros(features))
        self.register_buffer("initialized", torch.tensor(False))
        self._seen: tuple[int, int] | None = None

    def initialize(self, x: Tensor, weights: Tensor | None = None, *, dim: int) -> None:
        """Initialize in train mode, once; ``dim`` is the feature dimension, ``weights`` are 0 at padding."""
        if self.training and (x.shape[0] or num_ranks() > 1) and not self._is_initialized():
            values = x.detach().movedim(dim, -1).flatten(0, -2)
            if weights is not None:
                values = values.masked_fill(weights.reshape(-1, 1) == 0, 0)  # padding may be NaN
            with full_precision(x):
                self._initialize(values, values.new_ones(len(values)) if weights is None else weights.flatten())

    def _is_initialized(self) -> bool:
        if self.initialized.is_meta:
            return False
        if torch.compiler.is_compiling() and self._seen is not None:
            return True  # a compiled graph cannot read the version
        seen = id(self.initialized), self.initialized._version  # one of them changes whenever the buffer does
        if self._seen != seen:
            self._seen = seen if bool(self.initialized) else None
        return self._seen is not None

    @torch.no_grad()
    def _initialize(self, values: Tensor, weights: Tensor) -> None:
        total = sum_over_ranks(torch.cat([weights.sum()[None], weights @ values]))
        count, mean = total[0], total[1:] / total[0].clamp(min=1)
        squares = sum_over_ranks(weights @ (values - mean).square())
        std = (squares / (count - 1).clamp(min=1)).sqrt()
        varies = std > 16 * torch.finfo(std.dtype).eps * mean.abs().clamp(min=1)
        self.shift.copy_(mean)
        self.log_scale.copy_(torch.where(varies, std, 1).log())
        self.initialized.copy_(count > 0)
        self._is_initialized()  # synchronize in this forward, not in the next

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, initialized={'?' if self.initialized.is_meta else bool(self.initialized)}"


class ActNorm(DataInitialized):
    r"""Shift and scale each channel; initialized by the first training batch to zero mean and unit variance.

    .. math:: z_c = (x_c - b_c)\,e^{-s_c}, \qquad \log|\det J| = -HW \sum_c s_c

    For the initialization see :class:`DataInitialized`. Shapes: x, z ``(B, C, H, W)``.
    Source: Kingma and Dhariwal, Glow, 2018, section 3.1.

    >>> layer = ActNorm(1)
    >>> z, log_det = layer(torch.tensor([[[[1.0, 3.0], [5.0, 7.0]]]]))  # train mode: initialized by this batch
    >>> z.mean().item(), round(z.std().item(), 4), bool(layer.initialized)
    (0.0, 1.0, True)
    >>> torch.allclose(log_det, -4 * torch.tensor(20 / 3).sqrt().log())  # the standard deviation was √(20/3)
    True
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, (channels, None, None))

    def forward(self, x: Tensor, context: Any = None) -> Result:
        self.initialize(x, dim=1)
        z = (x - self.shift[:, None, None]) * torch.exp(-self.log_scale)[:, None, None]
        return z, -x.shape[2] * x.shape[3] * self.log_scale.sum()

    def inverse(self, z: Tensor, context: Any = None) -> Result:
        x = z * torch.exp(self.log_scale)[:, None, None] + self.shift[:, None, None]
        return x, z.shape[2] * z.shape[3] * self.log_scale.sum()


class GraphActNorm(DataInitialized, GraphTransform):
    r"""Shift and scale each feature, the same for all nodes; initialized by the first training batch.

    .. math:: z_{n} = (x_{n} - b)\,e^{-s}, \qquad \log|\det J| = -N \sum_f s_f

    For the initialization see :class:`DataInitialized`. Shapes, errors: see :class:`GraphTransform`.

    >>> layer = GraphActNorm(2)
    >>> z, log_det = layer(torch.tensor([[[0.0, 1.0], [2.0, 5.0]]]))  # one graph of two nodes
    >>> z.detach()
    tensor([[[-0.7071, -0.7071],
             [ 0.7071,  0.7071]]])
    """

    def __init__(self, features: int) -> None:
        super().__init__(features, (None, features))

    def forward(self, x: Tensor, context: Graph | None = None) -> Result:
        graph = context or COMPLETE
        weights = graph.node_weights(x)
        self.initialize(x, weights, dim=2)
        z = (x - self.shift) * torch.exp(-self.log_scale)
        return keep_padding(z, x, graph), -weights.sum(1) * self.log_scale.sum()

    def inverse(self, z: Tensor, context: Graph | None = None) -> Result:
        graph = context or COMPLETE
        x = z * torch.exp(self.log_scale) + self.shift
        return keep_padding(x, z, graph), graph.node_weights(z).sum(1) * self.log_scale.sum()


class VectorActNorm(DataInitialized):
    r"""Shift and scale each value of a vector; initialized by the first training batch.

    .. math:: z = (x - b)\,e^{-s}, \qquad \log|\det J| = -\sum_i s_i

    For the initialization see :class:`DataInitialized`. Shapes: x, z ``(B, D)``.

    >>> layer = VectorActNorm(2)
    >>> z, log_det = layer(torch.tensor([[0.0, 10.0], [1.0, 12.0], [2.0, 14.0]]))  # standard deviations 1 and 2
    >>> z.detach(), log_det.detach()
    (tensor([[-1., -1.],
            [ 0.,  0.],
            [ 1.,  1.]]), tensor([-0.6931, -0.6931, -0.6931]))
    """

    def __init__(self, size: int) -> None:
        super().__init__(size, (size,))

    def forward(self, x: Tensor, context: Any = None) -> Result:
        self.initialize(x, dim=1)
        return (x - self.shift) * torch.exp(-self.log_scale), -self.log_scale.sum()

    def inverse(self, z: Tensor, context: Any = None) -> Result:
        return z * torch.exp(self.log_scale) + self.shift, self.log_scale.sum()
