"""Training and evaluation of flows over the node features of graphs."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from lightning_flows.errors import ConvergenceError, DataError, check_sizes
from lightning_flows.flows import GraphFlow
from lightning_flows.functional.graphs import Graph
from lightning_flows.functional.probes import probes_by_item
from lightning_flows.functional.streams import stream
from lightning_flows.modules.base import Batch
from lightning_flows.modules.components import PAPER_ADAM
from lightning_flows.modules.density import DensityModule
from lightning_flows.modules.plots import plot_nodes
from lightning_flows.modules.schedules import WarmupCosine


class GraphFlowModule(DensityModule):
    """Maximize the log-density of node features.

    Logs what :class:`DensityModule` does, in nats per node. If the data are complete graphs with a known mixture,
    ``test/entropy`` and ``test/valid_share``, the fraction of ``num_test_samples`` samples with each node at a
    different mean, are also logged, and the standard error of the entropy if it is not exact.

    A batch is a mapping with ``nodes`` ``(B, N, F)``, ``index`` ``(B,)`` and optionally ``mask`` ``(B, N)``
    and ``adjacency`` ``(B, N, N)``.

    Args:
        event_shape: (N, F); on the command line that of the data; None takes it from a flow passed as an instance.
        flow: flow, as an instance or a function of ``event_shape``, such as a class or a partial of one.
        num_test_samples: samples for ``test/valid_share``; 0 omits it.
        optimizer: optimizer of the parameters; the paper's by default.
        lr_scheduler: schedule of the learning rate; by default warm-up and a cosine, None for a constant rate.
        lr_interval: when the schedule steps; default: its own attribute ``interval``, or else each epoch.
        recompute: keep only the input of each step in training, and compute its activations again in the backward pass:
            much less memory for about a third more time, with the same gradients.

    >>> import torch
    >>> from lightning_flows.flows import SetAutoregressiveFlow
    >>> module = GraphFlowModule((9, 2), SetAutoregressiveFlow).eval()
    >>> batch = {"nodes": torch.randn(4, 9, 2), "index": torch.arange(4)}
    >>> module.log_prob(batch).shape, module.loss_of(torch.tensor([-18.0]), {"nodes": torch.zeros(1, 9, 2)})
    (torch.Size([4]), tensor([2.]))
    """

    model: GraphFlow

    def __init__(
        self,
        event_shape: Sequence[int] | None,
        flow: Callable[[Sequence[int]], GraphFlow],
        *,
        num_test_samples: int = 2048,
        optimizer: OptimizerCallable = PAPER_ADAM,
        lr_scheduler: LRSchedulerCallable | None = WarmupCosine,
        lr_interval: Literal["epoch", "step"] | None = None,
        recompute: bool = False,
    ) -> None:
        check_sizes(0, num_test_samples=num_test_samples)
        super().__init__(
            event_shape,
            flow,
            GraphFlow,
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
            lr_interval=lr_interval,
            recompute=recompute,
        )
        self.num_test_samples = num_test_samples

    def forward(self, nodes: Tensor, graph: Graph | None = None) -> Tensor:
        """Log-density ``(B,)`` in nats of node features ``(B, N, F)``."""
        return self.model.log_prob(nodes, graph)

    def training_inputs(self, batch: Batch, step: int) -> tuple[Tensor | None, ...]:
        return batch["nodes"], batch.get("adjacency"), batch.get("mask")

    def training_terms(self, nodes: Tensor, adjacency: Tensor | None, mask: Tensor | None) -> dict[str, Tensor]:
        terms = self.model.log_prob_terms(nodes, Graph(adjacency, mask))
        return {"latents": terms.latents, "log_det": terms.log_det}

    def log_prob(self, batch: Batch) -> Tensor:
        with probes_by_item(batch["index"]):
            return self.model.log_prob(batch["nodes"], _graph(batch))

    def loss_of(self, log_prob: Tensor, batch: Batch) -> Tensor:
        if "mask" not in batch:
            return -log_prob / batch["nodes"].shape[1]
        num_nodes = batch["mask"].sum(1)
        # in training on a GPU, the host would wait for the device
        if (num_nodes.device.type == "cpu" or not torch.is_grad_enabled()) and not num_nodes.all():
            number = int(batch["index"][int(num_nodes.argmin())])
            raise DataError(f"the graph with index {number} has no nodes in its mask: leave it out")
        return -log_prob / num_nodes.clamp(min=1)

    def values(self, batch: Batch) -> tuple[Tensor, Tensor]:
        nodes = batch["nodes"].to(self.model.dtype)
        return nodes, _graph(batch).node_weights(nodes).bool()[..., None].expand_as(nodes)

    def encode(self, batch: Batch, *, dtype: torch.dtype | None = None) -> tuple[Tensor, ...]:
        return self.model.encode(self.values(batch)[0], _graph(batch), dtype=dtype)

    def decode(self, latents: Sequence[Tensor], batch: Batch, **options: Any) -> Tensor:
        return self.model.decode(latents, _graph(batch), **options)

    def decode_reported(self, latents: Sequence[Tensor], batch: Batch, **options: Any) -> tuple[Tensor, list[Any]]:
        return self.model.decode_reported(latents, _graph(batch), **options)

    @torch.no_grad()
    def sample(self, num: int, *, graph: Graph | None = None, **options: Any) -> Tensor:
        """Draw node features ``(num, N, F)``, by default of complete graphs; zero at the padding of ``graph``."""
        return self.model.sample(num, graph, **options)

    def draw(self, samples: Tensor) -> Tensor:
        """A scatter plot of the first two features of all nodes, with one graph highlighted."""
        return plot_nodes(samples)

    def true_entropy(self) -> tuple[float, float] | None:
        return None if self._mixture is None else self._mixture.entropy_per_node()

    def on_test_epoch_end(self) -> None:
        """Log the results and, if requested, the share of valid samples."""
        super().on_test_epoch_end()
        if self._mixture is not None and self.num_test_samples:
            generator = stream(0, "test samples", device=self.device)
            try:
                samples = self.sample(self.num_test_samples, generator=generator)
            except ConvergenceError as error:  # the other results are valid
                rank_zero_warn(f"no test/valid_share: {error}")
            else:
                self.log("test/valid_share", self._mixture.is_valid(samples).float().mean())

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Log-likelihood in nats and nats per node of each graph."""
        scores = super().predict_step(batch, batch_idx)
        return scores | {"nll": self.loss_of(scores["log_likelihood"], batch)}

    @property
    def _mixture(self) -> Any:
        return getattr(self.datamodule, "graph_mixture", None)


def _graph(batch: Batch) -> Graph:
    return Graph(batch.get("adjacency"), batch.get("mask"))
