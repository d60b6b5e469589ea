"""Training and evaluation of flows over pictures."""

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torchmetrics import MeanMetric, Metric

from lightning_flows import __version__
from lightning_flows.dequantization import DequantizedFlow, Evidence, Samples
from lightning_flows.errors import CheckpointError
from lightning_flows.functional.bits import bits_per_dim
from lightning_flows.modules.diagnosis import check_finite
from lightning_flows.modules.metrics import BitsPerDim, BitsPerDimError

OPTIMIZERS = {"adam": torch.optim.Adam, "adamax": torch.optim.Adamax}


class FlowModule(LightningModule, ABC):
    r"""Maximise the evidence lower bound of pictures in uint8; a subclass builds the flow.

    The learning rate in epoch e is :math:`\eta\,\min(1, (e+1)/w)^p\,d^e` with warm-up w, power p and decay d.

    Logs, in bits per dimension: ``train/bpd``, ``val/bpd`` (the bound, one draw of noise a picture), ``test/bpd`` (the
    bound, mean of all draws) and ``test/nll_bpd`` (importance-weighted with ``num_importance_samples`` draws; 0 leaves
    it out), each test value with its standard error over pictures; ``test/importance_samples`` is the mean number of
    draws.

    A batch is a mapping with ``image`` ``(B, *event_shape)`` in uint8 and ``index`` ``(B,)``. In evaluation the noise
    of a picture follows from its index and the seed of the run, so results depend on neither batches nor devices.

    Args:
        event_shape: shape (C, H, W) of the pictures; linked from the data on the command line.
        optimizer: ``adam`` or ``adamax``.
        learning_rate: η.
        betas: decay rates of the moments.
        eps: added to the root of the second moment.
        warmup_epochs: w.
        warmup_power: p.
        decay: d, per epoch.
        num_importance_samples: draws a picture for ``test/nll_bpd``.
        importance_error: standard error of a picture's likelihood, in bits per dimension, that ends its draws.
        eval_chunk_size: pictures times draws that go through the flow at once in evaluation.
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        *,
        optimizer: Literal["adam", "adamax"] = "adam",
        learning_rate: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-7,
        warmup_epochs: int = 10,
        warmup_power: float = 2.0,
        decay: float = 0.995,
        num_importance_samples: int = 0,
        importance_error: float | None = None,
        eval_chunk_size: int = 256,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.event_shape = tuple(int(n) for n in event_shape)
        num_dims = math.prod(self.event_shape)
        self.model = self.build_model().to(memory_format=torch.channels_last)
        self.val_bpd, self.test_bpd, self.test_nll = BitsPerDim(num_dims), BitsPerDim(num_dims), BitsPerDim(num_dims)
        self.test_bpd_error, self.test_nll_error = BitsPerDimError(num_dims), BitsPerDimError(num_dims)
        self.test_draws = MeanMetric()

    @abstractmethod
    def build_model(self) -> DequantizedFlow:
        """The flow over pictures of ``self.event_shape``, from ``self.hparams``."""

    def forward(self, images: Tensor) -> Tensor:
        """One draw of the bound on log P of pictures ``(B, C, H, W)`` in uint8: ``(B,)`` in nats."""
        return self.model.elbo(images)

    def training_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> Tensor:
        """Mean negative bound in bits per dimension."""
        bound = self.model.elbo(batch["image"])
        check_finite(bound, self.model, batch["image"], "training")
        loss = self._bits(bound).mean()
        self.log("train/bpd", loss, prog_bar=True, batch_size=len(batch["image"]), sync_dist=True)
        return loss

    def validation_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> None:
        """Add a batch to ``val/bpd``."""
        self.val_bpd.update(self._evidence(batch, 1, "validation").bound)

    def on_validation_epoch_end(self) -> None:
        """Log ``val/bpd``."""
        self._log_metric("val/bpd", self.val_bpd, prog_bar=True)

    def test_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> None:
        """Add a batch to the bound and, where asked for, to the likelihood."""
        evidence = self._evidence(batch, self.hparams["num_importance_samples"], "testing")
        self.test_bpd.update(evidence.bound)
        self.test_bpd_error.update(evidence.bound)
        self.test_nll.update(evidence.log_likelihood)
        self.test_nll_error.update(evidence.log_likelihood)
        self.test_draws.update(evidence.num_draws.float())

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
        """Log-likelihood in nats and bpd of each picture, with one draw if ``num_importance_samples`` is 0."""
        log_likelihood = self._evidence(batch, self.hparams["num_importance_samples"], "prediction").log_likelihood
        return {
            "index": batch["index"],
            "log_likelihood": log_likelihood,
            "bpd": self._bits(log_likelihood),
        }

    def sample(self, num: int, *, temperature: float = 1.0, generator: torch.Generator | None = None) -> Samples:
        """Draw pictures ``(num, C, H, W)`` in uint8."""
        return self.model.sample(num, temperature=temperature, generator=generator)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """The optimiser and its schedule by epoch."""
        options = {"lr": self.hparams["learning_rate"], "eps": self.hparams["eps"]}
        optimizer = OPTIMIZERS[self.hparams["optimizer"]](
            self.parameters(), betas=tuple(self.hparams["betas"]), **options
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._learning_rate_factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "epoch"}}

    def on_train_start(self) -> None:
        """Let the learning rate of the config win over the one a resumed optimiser brings along."""
        schedule = self.lr_schedulers()
        assert isinstance(schedule, torch.optim.lr_scheduler.LambdaLR)
        base = self.hparams["learning_rate"]
        schedule.base_lrs = [base] * len(schedule.base_lrs)
        for group in schedule.optimizer.param_groups:
            group["initial_lr"] = base
            group["lr"] = base * self._learning_rate_factor(schedule.last_epoch)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Write down what rebuilds model and data: class paths and plain arguments."""
        record = {"version": __version__, "model": describe(self)}
        datamodule = getattr(self._trainer, "datamodule", None) if self._trainer else None
        if datamodule is not None:
            record["data"] = describe(datamodule)
        checkpoint["lightning_flows"] = record

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse the state of another model."""
        check_state_dict(self, checkpoint["state_dict"])

    def _evidence(self, batch: Mapping[str, Tensor], num_draws: int, stage: str) -> Evidence:
        error = self.hparams["importance_error"]
        evidence = self.model.evidence(
            batch["image"],
            max(1, num_draws),
            seeds=[(torch.initial_seed() * 1_000_003 + index) % 2**63 for index in batch["index"].tolist()],
            chunk_size=self.hparams["eval_chunk_size"],
            target_error=None if error is None else error * self.val_bpd.num_dims * math.log(2),
        )
        check_finite(evidence.bound, self.model, batch["image"], stage)
        return evidence

    def _bits(self, log_prob: Tensor) -> Tensor:
        return bits_per_dim(log_prob, self.val_bpd.num_dims)

    def _log_metric(self, name: str, metric: Metric, **kwargs: Any) -> None:
        # compute() has already reduced over ranks: the value is the same on each
        self.log(name, metric.compute().float(), sync_dist=True, **kwargs)
        metric.reset()

    def _learning_rate_factor(self, epoch: int) -> float:
        warmup = max(1, self.hparams["warmup_epochs"])
        return min(1.0, (epoch + 1) / warmup) ** self.hparams["warmup_power"] * self.hparams["decay"] ** epoch


def describe(component: Any) -> dict[str, Any]:
    """Class path and constructor arguments of a module or datamodule, as a config has them."""
    return {
        "class_path": public_path(type(component)),
        "init_args": {key: _plain(value) for key, value in component.hparams.items()},
    }


def public_path(kind: type) -> str:
    """Path to import a class from: its package if that exports it, so that checkpoints outlive a moved file."""
    package = ".".join(kind.__module__.split(".")[:2])
    exported = getattr(sys.modules.get(package), kind.__qualname__, None) is kind
    return f"{package if exported else kind.__module__}.{kind.__qualname__}"


def check_state_dict(model: torch.nn.Module, state_dict: Mapping[str, Tensor]) -> None:
    """Raise CheckpointError unless the state fits the model: same names, same shapes."""
    own = model.state_dict()
    missing, unknown = own.keys() - state_dict.keys(), state_dict.keys() - own.keys()
    reshaped = {key for key in own.keys() & state_dict.keys() if own[key].shape != state_dict[key].shape}
    problems = [
        f"{len(keys)} {what}, such as {min(keys)}"
        for what, keys in (("missing", missing), ("unknown", unknown), ("of another shape", reshaped))
        if keys
    ]
    if problems:
        raise CheckpointError(
            f"expected a checkpoint of this {type(model).__name__}; got one of another model: {'; '.join(problems)}. "
            "Leave out the model's arguments to take them from the checkpoint"
        )


def _plain(value: Any) -> Any:
    return [_plain(v) for v in value] if isinstance(value, tuple | list) else value
