"""Graphs whose nodes lie at the means of a mixture of Gaussians: their density is known exactly."""

from typing import Literal

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_flows.data.base import PARTS, FlowDataModule, Loader, each_once, not_loaded
from lightning_flows.data.datasets.graphs import (
    FreshGraphs,
    FreshSampler,
    GraphDataset,
    GraphSource,
    adjacency_matrix,
    check_sizes,
    evaluation_stream,
)
from lightning_flows.distributions.graph_mixture import GraphMixture, graph_mixture
from lightning_flows.errors import DataError, ShapeError
from lightning_flows.functional.graphs import Graph
from lightning_flows.functional.ranks import num_ranks, rank


class GraphMoGDataModule(FlowDataModule):
    """Graphs drawn from a :class:`GraphMixture`: fresh ones in each step of training, fixed ones to evaluate on.

    Batches are ``{"nodes": float32 (B, M, 2), "index": int64 (B,)}``, with sizes also ``"mask"`` bool (B, M), False at
    padding, and with an adjacency ``"adjacency"`` float32 (B, M, M); all are zero at padding. To evaluate there is also
    ``"true_log_prob"`` float64 (B,), the exact log-density in nats given the number of nodes. A training graph follows
    from the seed, epoch, step and rank alone, and none comes twice, nor in two parts.

    Args:
        mixture: where the nodes lie: a square grid of 4, 9 or 16 means, or four turned by a random angle.
        means: points of your own in the plane in place of ``mixture``, ``(M, 2)``, at most 20.
        max_angle: with means of your own: turn each graph by an angle uniform in [0, max_angle) radians.
        sizes: numbers of nodes, of which each graph takes one at random; default: one node a mean.
        adjacency: zeros and ones, ``(M, M)``, symmetric, the same for all graphs; default: complete graphs.
        batch_size: graphs in a training batch, on each device.
        eval_batch_size: graphs in a validation, test or prediction batch, on each device.
        steps_per_epoch: training batches in an epoch, on each device.
        num_val: graphs that validate.
        num_test: graphs that test, and that ``predict`` scores.
        seed: of all graphs.

    Raises: ShapeError for a number below 1, or means or an adjacency that are none; DataError for values of means or
    sizes that make no sense, an unknown mixture, or an angle without means.
    """

    def __init__(
        self,
        *,
        mixture: Literal["mog4", "mog9", "mog16", "mog_ring"] = "mog4",
        means: list[list[float]] | None = None,
        max_angle: float = 0.0,
        sizes: list[int] | None = None,
        adjacency: list[list[int]] | None = None,
        batch_size: int = 128,
        eval_batch_size: int = 1024,
        steps_per_epoch: int = 500,
        num_val: int = 2048,
        num_test: int = 8192,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for key in ("batch_size", "eval_batch_size", "steps_per_epoch", "num_val", "num_test"):
            if self.hparams[key] < 1:
                raise ShapeError(f"expected {key} of at least 1; got {self.hparams[key]}")
        if means is None and max_angle != 0:
            raise DataError(f"expected a max_angle only beside means; got {max_angle} for {mixture}: set means as well")
        self._mixture = graph_mixture(mixture) if means is None else GraphMixture(means, max_angle=max_angle)
        num_nodes = self._mixture.num_means
        self._source = GraphSource(
            self._mixture,
            num_nodes,
            sizes=None if sizes is None else check_sizes(sizes, num_nodes),
            adjacency=None if adjacency is None else adjacency_matrix(adjacency, num_nodes),
        )
        self._datasets: dict[str, GraphDataset] = {}

    @property
    def event_shape(self) -> tuple[int, int]:
        """(M, 2)."""
        return self._mixture.num_means, 2

    @property
    def num_test(self) -> int:
        """Number of test graphs."""
        return self.hparams["num_test"]

    @property
    def graph_mixture(self) -> GraphMixture | None:
        """Density and entropy of these graphs; None with sizes or an adjacency, of which it knows nothing."""
        return self._mixture if self._source.sizes is None and self._source.adjacency is None else None

    def draw_structure(self, num: int, generator: torch.Generator) -> Graph:
        """Draw sizes and edges of ``num`` graphs as these data have them."""
        return self._source.structure(num, generator)

    def setup(self, stage: str) -> None:
        """Draw the graphs that a stage evaluates, and compute their densities: some seconds for mog16 and mog_ring."""
        for part in map(_source_part, PARTS[stage]):
            if part != "train" and part not in self._datasets:
                num, generator = self.hparams[f"num_{part}"], evaluation_stream(self.hparams["seed"], part)
                graphs = self._source.draw(num, generator)
                true_log_prob = self.true_log_prob(graphs["nodes"], graphs.get("mask"))
                self._datasets[part] = GraphDataset(graphs | {"true_log_prob": true_log_prob})

    def true_log_prob(self, nodes: Tensor, mask: Tensor | None = None) -> Tensor:
        """Exact log-density ``(B,)`` in nats, float64, of graphs ``(B, M, 2)`` given their numbers of nodes."""
        if mask is None:
            return self._mixture.log_prob(nodes)
        sizes, found = mask.sum(1), nodes.new_empty(len(nodes), dtype=torch.float64)
        for size in sizes.unique().tolist():
            chosen = sizes == size
            found[chosen] = self._mixture.log_prob(nodes[chosen, :size])
        return found

    def dataset(self, part: str) -> GraphDataset:
        """Return the graphs of a part in memory: val, test or predict, which are those of test.

        Raises: RuntimeError if ``setup`` has not drawn them.
        """
        if _source_part(part) not in self._datasets:
            raise not_loaded(part)
        return self._datasets[_source_part(part)]

    def predict_names(self) -> list[str]:
        """Return the name of each graph that is predicted, by ``index``: its number."""
        return [str(index) for index in range(self.num_test)]

    def train_dataloader(self) -> Loader:
        """Return ``steps_per_epoch`` batches of graphs that were never seen before."""
        options, steps = self.hparams, self.hparams["steps_per_epoch"]
        num_batches = steps * num_ranks()
        dataset = FreshGraphs(
            self._source, batch_size=options["batch_size"], num_batches=num_batches, seed=options["seed"]
        )
        sampler = FreshSampler(
            dataset, steps_per_epoch=steps, num_ranks=num_ranks(), rank=rank(), first_step=self.steps_done
        )
        return DataLoader(dataset, batch_size=None, sampler=sampler, pin_memory=torch.cuda.is_available())

    def eval_dataloader(self, part: str) -> Loader:
        """Return the items of a part in order, each once, whatever the number of ranks."""
        dataset = self.dataset(part)
        return DataLoader(
            dataset,
            batch_size=self.hparams["eval_batch_size"],
            sampler=each_once(dataset, f"{part} graph"),
            pin_memory=torch.cuda.is_available(),
        )


def _source_part(part: str) -> str:
    """The part whose graphs a part shows: ``predict`` shows those of ``test``."""
    return "test" if part == "predict" else part
