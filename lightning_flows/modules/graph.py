"""Training and evaluation of flows over the node features of graphs."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from lightning_flows.errors import check_sizes
from lightning_flows.flows import GraphFlow
from lightning_flows.functional.graphs import Graph
from lightning_flows.functional.streams import stream
from lightning_flows.modules.base import Batch, FlowModule
from lightning_flows.modules.components import PAPER_ADAM, built
from lightning_flows.modules.metrics import MeanAndError
from lightning_flows.modules.schedules import WarmupCosine


class GraphFlowModule(FlowModule):
    r"""Maximize the log-density of node features.

    Logs, in nats per node: ``train/nll``, ``val/nll`` and ``test/nll``; if batches contain the exact log-density
    (``true_log_prob``), also the gap ``val/gap`` and ``test/gap``, the mean over graphs of
    :math:`(\log p_{true} - \log p_{model})/N`, with ``test/gap_standard_error``. The gap's standard error is far below
    that of the NLL, because both densities are of the same graphs; the entropy plus the gap is a better estimate of the
    NLL, ``test/nll_from_gap``. If the data are complete graphs with a known mixture, ``test/entropy`` and
    ``test/valid_share``, the fraction of ``num_test_samples`` samples with each node at a different mean, are also
    logged.

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
    """

    unit = "nll"
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
        model = built(flow, event_shape, GraphFlow)
        if recompute:
            model.recompute = True
        self.init_args |= {"flow": model}
        super().__init__(
            model, model.event_shape, optimizer=optimizer, lr_scheduler=lr_scheduler, lr_interval=lr_interval
        )
        self.num_test_samples = num_test_samples
        self.val_gap, self.test_gap = MeanAndError(), MeanAndError()
        self.logged += ["val/gap"]

    def forward(self, nodes: Tensor, graph: Graph | None = None) -> Tensor:
        """Log-density ``(B,)`` in nats of node features ``(B, N, F)``."""
        return self.model.log_prob(nodes, graph)

    def training_inputs(self, batch: Batch, step: int) -> tuple[Tensor | None, ...]:
        return batch["nodes"], batch.get("adjacency"), batch.get("mask")

    def training_terms(self, nodes: Tensor, adjacency: Tensor | None, mask: Tensor | None) -> dict[str, Tensor]:
        terms = self.model.log_prob_terms(nodes, Graph(adjacency, mask))
        return {"latents": terms.latents, "log_det": terms.log_det}

    def log_prob(self, batch: Batch) -> Tensor:
        return self.model.log_prob(batch["nodes"], _graph(batch))

    def loss_of(self, log_prob: Tensor, batch: Batch) -> Tensor:
        return -log_prob / (batch["mask"].sum(1) if "mask" in batch else batch["nodes"].shape[1])

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
        return scatter_plot(samples)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._score(batch, "validation", self.val_loss, self.val_gap)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._score(batch, "testing", self.test_loss, self.test_gap)

    def on_validation_epoch_end(self) -> None:
        self.log_loss("val", self.val_loss, prog_bar=True)
        if self.val_gap.update_called:
            self.log("val/gap", self.val_gap.compute()[0], prog_bar=True)
        self.val_gap.reset()

    def on_test_epoch_end(self) -> None:
        """Log the results and, if requested, the share of valid samples."""
        mixture = getattr(self.datamodule, "graph_mixture", None)
        self.log_loss("test", self.test_loss)
        if self.test_gap.update_called:
            gap, error = self.test_gap.compute()
            if mixture is not None:
                entropy, _ = mixture.entropy_per_node()
                self.log_dict({"test/entropy": entropy, "test/nll_from_gap": entropy + gap})
            self.log_dict({"test/gap": gap, "test/gap_standard_error": error})
        self.test_gap.reset()
        if mixture is not None and self.num_test_samples:
            generator = stream(0, "test samples", device=self.device)
            samples = self.sample(self.num_test_samples, generator=generator)
            self.log("test/valid_share", mixture.is_valid(samples).float().mean())

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Log-likelihood in nats and nats per node of each graph."""
        log_prob = self.log_prob(batch)
        self.check_finite(log_prob, batch, "prediction")
        return {"index": batch["index"], "log_likelihood": log_prob, "nll": self.loss_of(log_prob, batch)}

    def _score(self, batch: Batch, stage: str, loss: MeanAndError, gap: MeanAndError) -> None:
        log_prob = self.log_prob(batch)
        self.check_finite(log_prob, batch, stage)
        loss.update(self.loss_of(log_prob, batch))
        if "true_log_prob" in batch:
            gap.update(self.loss_of(log_prob - batch["true_log_prob"], batch))


def scatter_plot(samples: Tensor) -> Tensor:
    """Plot nodes ``(B, N, F)`` by their first two features, as an image ``(3, 400, 400)`` in uint8."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # only needed here
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4, 4), layout="constrained")
    canvas, axes = FigureCanvasAgg(figure), figure.subplots()
    nodes = samples[..., :2].detach().cpu().float()
    for points, size, options in ((nodes.flatten(0, 1), 2, {"alpha": 0.4}), (nodes[0], 25, {"label": "one graph"})):
        axes.scatter(points[:, 0], points[:, 1], size, linewidths=0, **options)
    axes.legend(loc="upper right", fontsize="small")
    axes.set(xlabel="first feature", ylabel="second feature", aspect="equal")
    canvas.draw()
    return torch.from_numpy(np.asarray(canvas.buffer_rgba())[..., :3].copy()).permute(2, 0, 1)


def _graph(batch: Batch) -> Graph:
    return Graph(batch.get("adjacency"), batch.get("mask"))
