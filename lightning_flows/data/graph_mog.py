"""Graphs whose nodes are near the means of a mixture of Gaussians, with an exactly known density."""

from typing import Any, Literal

import torch
from torch import Tensor

from lightning_flows.data.datasets.graphs import GraphSource
from lightning_flows.data.generated import GeneratedDataModule
from lightning_flows.distributions.graph_mixture import GraphMixture, graph_mixture
from lightning_flows.errors import UsageError
from lightning_flows.functional.graphs import Graph


class GraphMoGDataModule(GeneratedDataModule):
    """Graphs drawn from a :class:`GraphMixture`: new ones at each training step, fixed ones for evaluation.

    Batches are ``{"nodes": float32 (B, M, 2), "index": int64 (B,)}``, with ``sizes`` also ``"mask"`` bool (B, M), False
    at padding, and with ``adjacency`` ``"adjacency"`` float32 (B, M, M); all are zero at padding. Evaluation batches
    also have ``"true_log_prob"`` float64 (B,), the exact log-density in nats given the number of nodes. A training
    graph depends only on the seed, epoch, step and rank; no graph is repeated, within a split or across splits.

    Args:
        mixture: locations of the nodes: a square grid of 4, 9 or 16 means, or four means rotated by a random angle.
        means: your own points in the plane instead of ``mixture``, ``(M, 2)``, at most 20.
        max_angle: with ``means``, rotate each graph by an angle uniform in [0, max_angle) radians.
        sizes: numbers of nodes, one of which is drawn uniformly for each graph; default: one node per mean.
        adjacency: zeros and ones, ``(M, M)``, symmetric, the same for all graphs; default: complete graphs.
        batch_size: graphs per training batch and device.
        eval_batch_size: graphs per validation, test or prediction batch and device.
        steps_per_epoch: training batches per epoch and device.
        num_val: number of validation graphs.
        num_test: number of test graphs, which ``predict`` scores as well.
        kwargs: other arguments of :class:`FlowDataModule`.

    Raises: UsageError for a number below 1, an unknown mixture, sizes outside 1 to M, or a ``max_angle`` without means;
    ShapeError or DataError for invalid means; ShapeError for an invalid adjacency.

    >>> data = GraphMoGDataModule(mixture="mog9", batch_size=8, num_val=16)
    >>> data.setup("fit")
    >>> data.event_shape, next(iter(data.train_dataloader()))["nodes"].shape
    ((9, 2), torch.Size([8, 9, 2]))
    >>> entropy, error = data.graph_mixture.entropy_per_node()  # in nats; exact for means this far apart
    >>> round(entropy, 4), error
    (4.2603, 0.0)
    """

    items = "graphs"

    def __init__(
        self,
        *,
        mixture: Literal["mog4", "mog9", "mog16", "mog_ring"] = "mog4",
        means: list[list[float]] | None = None,
        max_angle: float = 0.0,
        sizes: list[int] | None = None,
        adjacency: list[list[int]] | None = None,
        batch_size: int = 128,
        eval_batch_size: int | None = 1024,
        steps_per_epoch: int = 500,
        num_val: int = 2048,
        num_test: int = 8192,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            batch_size=batch_size,
            eval_batch_size=eval_batch_size,
            steps_per_epoch=steps_per_epoch,
            num_val=num_val,
            num_test=num_test,
            **kwargs,
        )
        if means is None and max_angle != 0:
            raise UsageError(f"expected a max_angle only with means; got {max_angle} for {mixture}: set means as well")
        self._mixture = graph_mixture(mixture) if means is None else GraphMixture(means, max_angle=max_angle)
        self._graphs = GraphSource(self._mixture, self._mixture.num_means, sizes=sizes, adjacency=adjacency)

    @property
    def event_shape(self) -> tuple[int, int]:
        return self._mixture.num_means, 2

    @property
    def graph_mixture(self) -> GraphMixture | None:
        """Density and entropy of these graphs; None with ``sizes`` or ``adjacency``, which it does not cover."""
        return self._mixture if self._graphs.sizes is None and self._graphs.adjacency is None else None

    def draw_structure(self, num: int, generator: torch.Generator) -> Graph:
        """Draw sizes and edges of ``num`` graphs like those of the data."""
        return self._graphs.structure(num, generator)

    @property
    def source(self) -> GraphSource:
        return self._graphs

    def true_log_prob(self, items: dict[str, Tensor]) -> Tensor:
        """Exact log-density ``(B,)`` of graphs in nats; takes a few seconds for mog16 and mog_ring."""
        return self._true_log_prob(items["nodes"], items.get("mask"))

    def _true_log_prob(self, nodes: Tensor, mask: Tensor | None) -> Tensor:
        """Exact log-density ``(B,)`` in nats, float64, of graphs ``(B, M, 2)`` given their numbers of nodes."""
        if mask is None:
            return self._mixture.log_prob(nodes)
        sizes, log_prob = mask.sum(1), nodes.new_empty(len(nodes), dtype=torch.float64)
        for size in sizes.unique().tolist():
            log_prob[sizes == size] = self._mixture.log_prob(nodes[sizes == size, :size])
        return log_prob
