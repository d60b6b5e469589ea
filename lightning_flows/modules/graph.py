"""The flows of section 6.3 as Lightning modules: node features of graphs."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from lightning_flows import flows
from lightning_flows.errors import UsageError
from lightning_flows.flows import GraphFlow
from lightning_flows.functional.graphs import Graph
from lightning_flows.functional.parts import note_part
from lightning_flows.functional.streams import stream
from lightning_flows.modules.base import FlowModule
from lightning_flows.modules.diagnosis import check_finite
from lightning_flows.modules.metrics import ExactMean, StandardError


class GraphFlowModule(FlowModule):
    r"""Maximize the log-density of node features; subclasses build the flow.

    The learning rate in step t of T is :math:`\eta\,\min(1, (t+1)/w)\,\tfrac12 (1 + \cos \pi t/T)`.

    Logs, in nats per node: ``train/nll``, ``val/nll`` and ``test/nll``; if batches contain the exact log-density
    (``true_log_prob``), also the gap ``val/gap`` and ``test/gap``, the mean over graphs of
    :math:`(\log p_{true} - \log p_{model})/N`, with ``test/gap_standard_error``. The gap's standard error is far below
    that of the NLL, as both densities are of the same graphs; the entropy plus the gap is the better estimate of the
    NLL, ``test/nll_from_gap``. If the data are complete graphs with a known mixture, ``test/entropy`` and
    ``test/valid_share``, the fraction of ``num_test_samples`` samples with each node at a different mean, are logged
    too.

    A batch is a mapping with ``nodes`` ``(B, N, F)``, ``index`` ``(B,)`` and optionally ``mask`` ``(B, N)``
    and ``adjacency`` ``(B, N, N)``.

    Args:
        event_shape: (N, F); linked from the data on the command line.
        warmup_steps: w, steps during which the learning rate rises.
        num_test_samples: samples for ``test/valid_share``; 0 leaves it out.
        kwargs: see :class:`FlowModule`; η is its ``learning_rate``.
    """

    schedule_interval = "step"
    monitored = "val/nll"

    def __init__(
        self, event_shape: Sequence[int], *, warmup_steps: int = 100, num_test_samples: int = 2048, **kwargs: Any
    ) -> None:
        if warmup_steps < 0 or num_test_samples < 0:
            raise UsageError(
                f"expected warmup_steps and num_test_samples of at least 0; got {warmup_steps} and {num_test_samples}"
            )
        super().__init__(event_shape, **kwargs)
        self.val_nll, self.val_gap = ExactMean(), ExactMean()
        self.test_nll, self.test_gap, self.test_gap_error = ExactMean(), ExactMean(), StandardError()

    def forward(self, nodes: Tensor, graph: Graph | None = None) -> Tensor:
        """Log-density ``(B,)`` in nats of node features ``(B, N, F)``."""
        return self.model.log_prob(nodes, graph)

    def training_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> Tensor:
        """Mean negative log-density in nats a node."""
        graph = Graph(batch.get("adjacency"), batch.get("mask"))
        terms = self.model.log_prob_terms(batch["nodes"], graph)
        note_part("latents", terms.latents)
        note_part("log_det", terms.log_det)
        log_prob = terms.latents + terms.log_det
        check_finite(log_prob, self.model, lambda: self.model.log_prob(batch["nodes"], graph), "training")
        loss = -(log_prob / _num_nodes(batch)).mean()
        self.log("train/nll", loss, prog_bar=True, batch_size=len(batch["index"]), sync_dist=True)
        return loss

    def validation_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> None:
        """Add a batch to ``val/nll`` and ``val/gap``."""
        nll = self._nll(batch, "validation")
        self.val_nll.update(nll)
        if "true_log_prob" in batch:
            self.val_gap.update(nll + batch["true_log_prob"] / _num_nodes(batch))

    def on_validation_epoch_end(self) -> None:
        """Log."""
        self._log_metric("val/nll", self.val_nll, prog_bar=True)
        if self.val_gap.count:
            self._log_metric("val/gap", self.val_gap, prog_bar=True)

    def test_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> None:
        """Add a batch to ``test/nll`` and ``test/gap``."""
        nll = self._nll(batch, "testing")
        self._tell_progress(batch_idx + 1)
        self.test_nll.update(nll)
        if "true_log_prob" in batch:
            gap = nll + batch["true_log_prob"] / _num_nodes(batch)
            self.test_gap.update(gap)
            self.test_gap_error.update(gap)

    def on_test_epoch_end(self) -> None:
        """Log, and see where samples lie."""
        mixture = getattr(getattr(self.trainer, "datamodule", None), "graph_mixture", None)
        self._log_metric("test/nll", self.test_nll)
        if self.test_gap.count:
            if mixture is not None:
                entropy, _ = mixture.entropy_per_node()
                self.log("test/entropy", entropy, sync_dist=True)
                self.log("test/nll_from_gap", entropy + self.test_gap.compute(), sync_dist=True)
            self._log_metric("test/gap", self.test_gap)
            self._log_metric("test/gap_standard_error", self.test_gap_error)
        if mixture is not None and self.hparams["num_test_samples"]:
            samples = self.sample(self.hparams["num_test_samples"], generator=self._generator())
            self.log("test/valid_share", mixture.is_valid(samples).float().mean(), sync_dist=True)

    def predict_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """Log-likelihood in nats and nats a node of each graph."""
        nll = self._nll(batch, "prediction")
        self._tell_progress(batch_idx + 1)
        return {"index": batch["index"], "log_likelihood": -nll * _num_nodes(batch), "nll": nll}

    @torch.no_grad()
    def sample(
        self,
        num: int,
        *,
        graph: Graph | None = None,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw node features ``(num, N, F)``; of complete graphs unless ``graph`` says which, zeros at its padding."""
        return self.model.sample(num, graph, temperature=temperature, generator=generator)

    def learning_rate_factor(self, progress: int) -> float:
        """Warm-up, and a cosine from one to zero, by step."""
        total = float(self.trainer.estimated_stepping_batches)
        share = min(1.0, progress / total) if 0 < total < math.inf else 0.0
        return min(1.0, (progress + 1) / max(1, self.hparams["warmup_steps"])) * 0.5 * (1 + math.cos(math.pi * share))

    def _nll(self, batch: Mapping[str, Tensor], stage: str) -> Tensor:
        """Negative log-density of each graph, in nats a node."""
        graph = Graph(batch.get("adjacency"), batch.get("mask"))
        log_prob = self.model.log_prob(batch["nodes"], graph)
        check_finite(log_prob, self.model, lambda: self.model.log_prob(batch["nodes"], graph), stage)
        return -log_prob / _num_nodes(batch)

    def _generator(self) -> torch.Generator:
        return stream(0, "test samples", device=self.device)


def _num_nodes(batch: Mapping[str, Tensor]) -> Tensor | int:
    return batch["mask"].sum(1) if "mask" in batch else batch["nodes"].shape[1]


class GraphCouplingFlow(GraphFlowModule):
    """Baseline of Table 4: couplings that see all nodes as one vector, not equivariant.

    Args:
        event_shape: (N, F); linked from the data on the command line.
        num_steps: couplings, one after the other.
        width: of their nets.
        depth: hidden layers of each.
        kwargs: see :class:`GraphFlowModule`.
    """

    def __init__(
        self, event_shape: Sequence[int], *, num_steps: int = 8, width: int = 128, depth: int = 2, **kwargs: Any
    ) -> None:
        super().__init__(event_shape, **kwargs)

    def build_model(self) -> GraphFlow:
        """The flow of :class:`flows.GraphCouplingFlow`."""
        names = ("num_steps", "width", "depth")
        return flows.GraphCouplingFlow(self.event_shape, **{name: self.hparams[name] for name in names})


class GraphNormalizingFlow(GraphFlowModule):
    """Graph normalizing flow: couplings over graphs, equivariant, with or without the graph convolution exponential.

    Args:
        event_shape: (N, F); linked from the data on the command line.
        exponential: a graph convolution exponential before every coupling.
        max_neighbors: bounds the exponential's norm; by default N − 1, as complete graphs have it.
        num_steps: times that each feature is moved.
        node_map: scale and shift, or the distribution function of a mixture.
        components: of that mixture.
        width: of the attention nets.
        num_blocks: blocks of each.
        num_heads: heads of each block.
        kwargs: see :class:`GraphFlowModule`.
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        *,
        exponential: bool = True,
        max_neighbors: int | None = None,
        num_steps: int = 4,
        node_map: Literal["affine", "mixture"] = "affine",
        components: int = 8,
        width: int = 64,
        num_blocks: int = 2,
        num_heads: int = 4,
        **kwargs: Any,
    ) -> None:
        super().__init__(event_shape, **kwargs)

    def build_model(self) -> GraphFlow:
        """The flow of :class:`flows.GraphNormalizingFlow`."""
        layers = ("exponential", "max_neighbors", "num_steps", "node_map", "components")
        names = (*layers, "width", "num_blocks", "num_heads")
        return flows.GraphNormalizingFlow(self.event_shape, **{name: self.hparams[name] for name in names})


class SetAutoregressiveFlow(GraphFlowModule):
    """Set-autoregressive couplings, equivariant: an extension of ours, apart from the paper's comparison.

    Args:
        event_shape: (N, F); linked from the data on the command line.
        num_steps: times that each feature is moved.
        components: of the mixture whose distribution function moves a feature.
        width: of the attention nets.
        num_blocks: blocks of each net's encoder and decoder.
        num_heads: heads of each block.
        kwargs: see :class:`GraphFlowModule`.
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        *,
        num_steps: int = 1,
        components: int = 8,
        width: int = 64,
        num_blocks: int = 2,
        num_heads: int = 4,
        **kwargs: Any,
    ) -> None:
        super().__init__(event_shape, **kwargs)

    def build_model(self) -> GraphFlow:
        """The flow of :class:`flows.SetAutoregressiveFlow`."""
        names = ("num_steps", "components", "width", "num_blocks", "num_heads")
        return flows.SetAutoregressiveFlow(self.event_shape, **{name: self.hparams[name] for name in names})
