"""Graph convolution exponentials between other transforms."""

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn

from lightning_flows.errors import UsageError
from lightning_flows.functional.graphs import Graph
from lightning_flows.transforms.base import Transform
from lightning_flows.transforms.graph.base import GraphTransform
from lightning_flows.transforms.graph.exponential import GraphExponential, NodeMaps, exponentials


class InterleavedExponentials(GraphTransform):
    r"""A graph convolution exponential before each of several transforms of nodes.

    .. math:: z = f_K(\exp(M_K) \cdots f_1(\exp(M_1)\, x))

    The same as :class:`Compose` of all of them, in less time: the matrices of all exponentials are evaluated in one
    batch. Shapes, errors: see :class:`GraphTransform`.

    Args:
        features: F.
        transforms: the f, which keep the number of features.
        max_neighbors: see :class:`GraphExponential`.
    Source: section 6.3 of the paper, where exponentials precede couplings.
    """

    def __init__(self, features: int, transforms: Sequence[Transform], *, max_neighbors: int) -> None:
        super().__init__((None, features))
        if not transforms:
            raise UsageError("expected at least one transform; got none")
        self.exponentials = nn.ModuleList(GraphExponential(features, max_neighbors=max_neighbors) for _ in transforms)
        self.transforms = nn.ModuleList(transforms)

    def forward(self, x: Tensor, context: Graph | None = None) -> tuple[Tensor, Tensor]:
        maps, log_det = self._maps(x, context, sign=1.0)
        for exponential, transform in zip(maps, self.transforms, strict=True):
            x, step = transform(exponential(x), context)
            log_det = log_det + step
        return x, log_det

    def inverse(self, z: Tensor, context: Graph | None = None) -> tuple[Tensor, Tensor]:
        maps, log_det = self._maps(z, context, sign=-1.0)
        for exponential, transform in zip(reversed(maps), reversed(self.transforms), strict=True):
            z, step = transform.inverse(z, context)
            z, log_det = exponential(z), log_det + step
        return z, log_det

    def _maps(self, x: Tensor, context: Graph | None, *, sign: float) -> tuple[NodeMaps, Tensor]:
        return exponentials(cast(Sequence[GraphExponential], self.exponentials), x, context, sign=sign)
