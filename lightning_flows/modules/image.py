"""Training and evaluation of flows over images."""

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_flows.dequantization import DequantizedFlow, LikelihoodEstimate
from lightning_flows.errors import UsageError
from lightning_flows.functional.bits import bits_per_dim
from lightning_flows.functional.parts import note_part
from lightning_flows.functional.ranks import num_ranks, rank
from lightning_flows.functional.streams import stream_seed
from lightning_flows.modules.base import FlowModule
from lightning_flows.modules.diagnosis import check_finite
from lightning_flows.modules.metrics import BitsPerDim, BitsPerDimError, ExactMean


class ImageFlowModule(FlowModule):
    r"""Maximize the evidence lower bound of uint8 images; subclasses build the flow.

    The learning rate in epoch e is :math:`\eta\,\min(1, (e+1)/w)^p\,d^e` with warm-up w, power p and decay d.

    Logs, in bits per dimension: ``train/bpd``, ``val/bpd`` (the bound, one noise draw per image), ``test/bpd`` (the
    bound, mean of all draws) and ``test/nll_bpd`` (importance-weighted with ``num_importance_samples`` draws; 0 leaves
    it out), each test value with its standard error over images; ``test/importance_samples`` is the mean number of
    draws.

    A batch is a mapping with ``image`` ``(B, *event_shape)`` in uint8 and ``index`` ``(B,)``. In evaluation the noise
    of an image depends only on its index and the run's seed, so results do not depend on batches or devices.

    Raises: UsageError for arguments out of range.

    Args:
        event_shape: shape (C, H, W) of the images; linked from the data on the command line.
        warmup_epochs: w, epochs during which the learning rate rises.
        warmup_power: p, exponent of the warm-up.
        decay: d, factor of the learning rate per epoch.
        num_importance_samples: draws per image for ``test/nll_bpd``.
        importance_error: standard error of an image's likelihood, in bits per dimension, at which its draws end.
        eval_chunk_size: number of images times draws that go through the flow at once in evaluation.
        kwargs: see :class:`FlowModule`; η is its ``learning_rate``.
    """

    monitored = "val/bpd"

    def __init__(
        self,
        event_shape: Sequence[int],
        *,
        warmup_epochs: int = 10,
        warmup_power: float = 2.0,
        decay: float = 0.995,
        num_importance_samples: int = 0,
        importance_error: float | None = None,
        eval_chunk_size: int = 256,
        **kwargs: Any,
    ) -> None:
        if not (warmup_epochs >= 0 and 0 <= warmup_power < math.inf and 0 < decay <= 1):
            raise UsageError(
                "expected warmup_epochs and warmup_power of at least 0 and a decay above 0 and at most 1; "
                f"got {warmup_epochs}, {warmup_power} and {decay}"
            )
        if num_importance_samples < 0 or eval_chunk_size < 1:
            raise UsageError(
                "expected num_importance_samples of at least 0 and an eval_chunk_size of at least 1; "
                f"got {num_importance_samples} and {eval_chunk_size}"
            )
        if importance_error is not None and not 0 < importance_error < math.inf:
            raise UsageError(f"expected an importance_error above 0 bits per dimension; got {importance_error}")
        super().__init__(event_shape, **kwargs)
        num_dims = math.prod(self.event_shape)
        self.model = self.model.to(memory_format=torch.channels_last)
        self.val_bpd, self.test_bpd, self.test_nll = BitsPerDim(num_dims), BitsPerDim(num_dims), BitsPerDim(num_dims)
        self.test_bpd_error, self.test_nll_error = BitsPerDimError(num_dims), BitsPerDimError(num_dims)
        self.test_draws = ExactMean()

    @abstractmethod
    def build_model(self) -> DequantizedFlow:
        """The flow over images of ``self.event_shape``, from ``self.hparams``."""

    def forward(self, images: Tensor) -> Tensor:
        """One draw of the bound on log P of images ``(B, C, H, W)`` in uint8: ``(B,)`` in nats."""
        return self.model.elbo(images)

    def training_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> Tensor:
        """Mean negative bound in bits per dimension."""
        noise = self._training_noise(batch["image"])
        terms = self.model.elbo_terms(batch["image"], noise)
        for name in ("latents", "log_det", "dequantization"):
            note_part(name, getattr(terms, name))
        bound = terms.latents + terms.log_det + terms.dequantization
        check_finite(bound, self.model, lambda: self.model.elbo(batch["image"], noise), "training")
        loss = self._bits(bound).mean()
        self.log("train/bpd", loss, prog_bar=True, batch_size=len(batch["image"]), sync_dist=True)
        return loss

    def validation_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> None:
        """Add a batch to ``val/bpd``."""
        self.val_bpd.update(self._estimate(batch, batch_idx, 1, "validation").bound)

    def on_validation_epoch_end(self) -> None:
        """Log ``val/bpd``."""
        self._log_metric("val/bpd", self.val_bpd, prog_bar=True)

    def test_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> None:
        """Add a batch to the bound and, where asked for, to the likelihood."""
        estimate = self._estimate(batch, batch_idx, self.hparams["num_importance_samples"], "testing")
        self.test_bpd.update(estimate.bound)
        self.test_bpd_error.update(estimate.bound)
        self.test_nll.update(estimate.log_likelihood)
        self.test_nll_error.update(estimate.log_likelihood)
        self.test_draws.update(estimate.num_draws)

    def on_test_epoch_end(self) -> None:
        """Log ``test/bpd`` and ``test/nll_bpd`` with their standard errors."""
        self._log_metric("test/bpd", self.test_bpd)
        self._log_metric("test/bpd_standard_error", self.test_bpd_error)
        if self.hparams["num_importance_samples"]:
            self._log_metric("test/nll_bpd", self.test_nll)
            self._log_metric("test/nll_bpd_standard_error", self.test_nll_error)
            self._log_metric("test/importance_samples", self.test_draws)
        for metric in (self.test_nll, self.test_nll_error, self.test_draws):
            metric.reset()

    def predict_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """Log-likelihood in nats and bpd of each image, with one draw if ``num_importance_samples`` is 0."""
        num_draws = self.hparams["num_importance_samples"]
        log_likelihood = self._estimate(batch, batch_idx, num_draws, "prediction").log_likelihood
        return {
            "index": batch["index"],
            "log_likelihood": log_likelihood,
            "bpd": self._bits(log_likelihood),
        }

    def learning_rate_factor(self, progress: int) -> float:
        """Warm-up, then decay, by epoch."""
        warmup = max(1, self.hparams["warmup_epochs"])
        return min(1.0, (progress + 1) / warmup) ** self.hparams["warmup_power"] * self.hparams["decay"] ** progress

    def sample(self, num: int, *, temperature: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
        """Draw images ``(num, C, H, W)`` in uint8."""
        return self.model.sample(num, temperature=temperature, generator=generator)

    def _training_noise(self, images: Tensor) -> Tensor:
        """This rank's part of the noise of a whole batch, which is the same whatever the number of ranks."""
        noise = self.model.dequantization.draw_noise(num_ranks() * len(images), device=images.device)
        return noise[rank() :: num_ranks()]

    def _estimate(self, batch: Mapping[str, Tensor], batch_idx: int, num_draws: int, stage: str) -> LikelihoodEstimate:
        error = self.hparams["importance_error"]
        estimate = self.model.importance_sample(
            batch["image"],
            max(1, num_draws),
            seeds=[stream_seed(self.seed, "evaluation noise", index) for index in batch["index"].tolist()],
            chunk_size=self.hparams["eval_chunk_size"],
            target_error=None if error is None else error * self.val_bpd.num_dims * math.log(2),
        )
        self._tell_progress(batch_idx + 1)
        check_finite(estimate.bound, self.model, lambda: self.model.elbo(batch["image"]), stage)
        return estimate

    def _bits(self, log_prob: Tensor) -> Tensor:
        return bits_per_dim(log_prob, self.val_bpd.num_dims)
