"""Training of flows: the base of the modules for images, graphs and vectors."""

import inspect
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from lightning_flows import __version__
from lightning_flows.checkpoints import construct, describe, read_checkpoint
from lightning_flows.checkpoints.averaging import resume_current, save_average
from lightning_flows.checkpoints.forms import check_record, check_training
from lightning_flows.checkpoints.plain import check_describable, described_class
from lightning_flows.checkpoints.recorded_data import data_record
from lightning_flows.checkpoints.splines import check_splines
from lightning_flows.checkpoints.training import (
    check_counts,
    check_resumable,
    check_state_dict,
    guard_optimizers,
    initial_rates,
    keep_paths_in,
    rate_factor,
    rescale_rates,
)
from lightning_flows.errors import UsageError
from lightning_flows.functional.ranks import check_same_step, num_ranks, sum_over_ranks
from lightning_flows.functional.recorded import Recorded
from lightning_flows.functional.streams import forked
from lightning_flows.modules.compiled import CompiledTerms, keep_names_of_compiled
from lightning_flows.modules.components import use_fast_kernels
from lightning_flows.modules.diagnosis import FiniteSteps, check_finite, check_weights
from lightning_flows.modules.metrics import Evaluated, MeanAndError
from lightning_flows.modules.monitored import check_monitors, is_due, is_shown

Batch = Mapping[str, Tensor]


class FlowModule(Recorded, Evaluated, ABC):
    """A flow with its optimizer and schedule; subclasses define what a batch is and how it is scored.

    Callbacks, commands and reports use only ``unit``, ``event_shape``, :meth:`log_prob`, :meth:`loss_of`,
    :meth:`values`, :meth:`encode`, :meth:`standardize`, :meth:`decode`, :meth:`decode_reported`, :meth:`sample`,
    :meth:`draw`, :meth:`batch_size_of` and the steps below.

    ``training_step`` returns ``{"loss": (), "terms": {name: (B,)}}``, the terms of log-probabilities in nats.
    ``test_step`` returns the ``index`` of the items and, for each NAME, values ``(B,)`` whose mean is ``test/NAME``;
    ``predict_step`` their ``index``, ``log_likelihood``, other values ``(B,)`` and, if they are images, ``image`` in
    uint8. All log ``train/loss``, ``val/loss`` and ``test/loss``, and the same value under its ``unit``.

    Args:
        model: module to train.
        event_shape: shape of an item.
        optimizer: function from parameters to an optimizer.
        lr_scheduler: function from the optimizer to a schedule; None for a constant learning rate.
        lr_interval: when the schedule steps; default: its own attribute ``interval``, or else each epoch.

    >>> from lightning_flows import AutoregressiveFlow, VectorFlowModule
    >>> module = VectorFlowModule((2,), AutoregressiveFlow)  # the one for vectors
    >>> module.loss_of(torch.tensor([-1.5]), {}), module.unit
    (tensor([1.5000]), 'nll')
    """

    unit: Literal["bpd", "nll"]
    """Unit of the loss: bits per dimension of images, or nats per node of graphs or per row."""
    is_invertible: ClassVar[bool] = True  # whether decode is the inverse of encode, up to round-off
    compiled_terms: CompiledTerms | None = None
    """Set this before training to compile the loss and its gradient; ``fit --compile=true`` does so."""
    _resumed: dict[str, Any] | None = None  # entries of the checkpoint, until training starts

    def __init__(
        self,
        model: nn.Module,
        event_shape: Sequence[int],
        *,
        optimizer: OptimizerCallable,
        lr_scheduler: LRSchedulerCallable | None,
        lr_interval: Literal["epoch", "step"] | None,
    ) -> None:
        super().__init__()
        self.model, self.event_shape = model, tuple(int(n) for n in event_shape)
        self.optimizer, self.lr_scheduler, self.lr_interval = optimizer, lr_scheduler, lr_interval
        self.init_args |= {"event_shape": self.event_shape}
        self.val_loss, self.test_loss = MeanAndError(), MeanAndError()
        self.logged = [f"{stage}/{name}" for stage in ("val", "train") for name in ("loss", self.unit)]
        self._rates: list[list[float]] = []
        self._finite = FiniteSteps()
        keep_names_of_compiled(self)
        self.save_hyperparameters(describe(self)["init_args"])

    @abstractmethod
    def log_prob(self, batch: Batch) -> Tensor:
        """Log-probabilities ``(B,)`` in nats; for images a lower bound, whose noise depends on their indices."""

    @abstractmethod
    def loss_of(self, log_prob: Tensor, batch: Batch) -> Tensor:
        """−log_prob ``(B,)`` in the unit of the loss."""

    @abstractmethod
    def values(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The input of :meth:`encode` ``(B, *event)``, and a mask of the values that are not padding."""

    @abstractmethod
    def encode(self, batch: Batch, *, dtype: torch.dtype | None = None) -> tuple[Tensor, ...]:
        """Latents of the items, one tensor per level, computed in ``dtype`` (default: that of the flow)."""

    def standardize(self, latents: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Transform latents so that their prior is a standard normal distribution."""
        return tuple(latents)

    @abstractmethod
    def decode(self, latents: Sequence[Tensor], batch: Batch, **options: Any) -> Tensor:
        """Items with these latents and the graph of ``batch``, if any; ``dtype`` and ``accuracy`` as in Flow.decode."""

    @abstractmethod
    def decode_reported(self, latents: Sequence[Tensor], batch: Batch, **options: Any) -> tuple[Tensor, list[Any]]:
        """As :meth:`decode`, also returning a report for each layer with an iterative inverse."""

    @abstractmethod
    def sample(self, num: int, **options: Any) -> Tensor:
        """Draw ``num`` items; ``temperature``, ``generator`` and ``accuracy`` as in Flow.sample."""

    @abstractmethod
    def draw(self, samples: Tensor) -> Tensor:
        """An image ``(3, H, W)`` in uint8 that shows samples."""

    @abstractmethod
    def training_inputs(self, batch: Batch, step: int) -> tuple[Tensor | None, ...]:
        """Arguments of :meth:`training_terms`, such as items and their noise in a training step."""

    @abstractmethod
    def training_terms(self, *inputs: Any) -> dict[str, Tensor]:
        """Terms ``(B,)`` that sum to the log-probabilities; the part of a training step that may be compiled."""

    def batch_size_of(self, batch: Batch) -> int:
        """Number of items in a batch."""
        return len(batch["index"])

    @property
    def seed(self) -> int:
        """Seed of the run, as passed to ``seed_everything``; 0 if it was not called."""
        return int(os.environ.get("PL_GLOBAL_SEED", 0))

    @property
    def learning_rate(self) -> float | None:
        """Learning rate of the optimizer, which tuners may set; None if the optimizer has none."""
        kind, arguments = described_class(self.optimizer) or (torch.optim.Optimizer, {})
        default = inspect.signature(kind).parameters.get("lr")
        return arguments.get("lr", default and default.default)

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self.optimizer = self.init_args["optimizer"] = partial(self.optimizer, lr=value)  # type: ignore[call-arg]

    @property
    def attached(self) -> Trainer | None:
        """The trainer, or None without one."""
        with suppress(RuntimeError):
            return self.trainer
        return None

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """Return the loss and its terms; random numbers depend only on the run's seed and the step."""
        trainer: Any = self.attached
        step = batch_idx if trainer is None else trainer.fit_loop.total_batch_idx
        with forked(self.seed, "training step", step, device=self.device):
            inputs = self.training_inputs(batch, step)
            terms = self.compiled_terms(self, inputs) if self.compiled_terms else self.training_terms(*inputs)
        log_prob = torch.stack(list(terms.values())).sum(0)
        terms = {name: term.detach() for name, term in terms.items()}
        self._finite.add(step, batch, terms, log_prob.detach(), self.model, self.log_prob)
        loss = self.loss_of(log_prob, batch).mean()
        due = trainer is not None and is_due(trainer)
        logged = sum_over_ranks(loss.detach().clone()) / num_ranks() if due else loss.detach()
        self.log("train/loss", logged, batch_size=self.batch_size_of(batch))
        self.log(f"train/{self.unit}", logged, prog_bar=is_shown(trainer), batch_size=self.batch_size_of(batch))
        return {"loss": loss, "terms": terms}

    def check_finite(self, log_prob: Tensor, batch: Batch, stage: str) -> None:
        """Raise NonFiniteError, naming the layer, unless all log-probabilities are finite."""
        check_finite(log_prob, self.model, lambda: self.log_prob(batch), stage)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Skip a fused update that is not finite, on the device."""
        self._finite.guard(optimizer)

    def on_validation_start(self) -> None:
        """Raise NonFiniteError if the last training step was not finite."""
        self._finite.look(self.model, self.log_prob)

    on_train_end = on_validation_start

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer and its schedule; subclasses may return any form that Lightning accepts."""
        optimizer, trainer = self.optimizer(self.parameters()), self.attached
        use_fast_kernels(optimizer, mixed=trainer is not None and "mixed" in trainer.precision)
        if self.lr_scheduler is None:
            return optimizer
        scheduler: Any = self.lr_scheduler(optimizer)
        if trainer is not None and getattr(scheduler, "total_steps", 0) is None:
            scheduler.total_steps = trainer.estimated_stepping_batches
        own = getattr(scheduler, "interval", "epoch")
        interval = self.lr_interval or own
        if hasattr(scheduler, "total_steps") and own == "step" != interval:
            raise UsageError(f"{type(scheduler).__name__} counts steps of the optimizer: omit lr_interval={interval}")
        config = {"scheduler": scheduler, "interval": interval, "monitor": getattr(scheduler, "monitor", "val/loss")}
        of_validation = isinstance(scheduler, ReduceLROnPlateau) and str(config["monitor"]).startswith("val/")
        if of_validation and interval == "epoch" and trainer is not None:
            config["frequency"] = trainer.check_val_every_n_epoch or 1  # the metric is new only after a validation
        return {"optimizer": optimizer, "lr_scheduler": config}  # type: ignore[return-value]

    def on_fit_start(self) -> None:
        """Fail early on arguments that a checkpoint cannot restore, unknown metrics and a state that does not fit."""
        check_describable(self, "model")
        if (datamodule := self.datamodule) is not None:
            check_describable(datamodule, "data")
        check_monitors(self, self.trainer, self.logged)
        own = type(self).configure_optimizers is FlowModule.configure_optimizers
        guard_optimizers(self.trainer.optimizers, override=own)
        if self.compiled_terms:
            self.compiled_terms.check(self.device)
        if self._resumed is not None:
            check_counts(self._resumed, self.trainer)
            self._rates = initial_rates(self.trainer)

    def on_train_start(self) -> None:
        """Let the learning rate and the schedule of this run override those of the checkpoint that it resumes from."""
        check_same_step(self.global_step, self.device)
        if self._resumed is not None:
            factor = rate_factor(self._resumed["lightning_flows"]["model"], self.learning_rate)
            rescale_rates(self.trainer, self._rates, factor)
            self._resumed = None

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the class paths and plain arguments that rebuild model and data; refuse weights that are not finite."""
        self.on_validation_start()
        check_weights(self.model)
        record: dict[str, Any] = {"version": __version__, "seed_everything": self.seed, "model": describe(self)}
        checkpoint[self.CHECKPOINT_HYPER_PARAMS_KEY] = record["model"]["init_args"]
        if (datamodule := self.datamodule) is not None:
            record |= data_record(datamodule)
            checkpoint[datamodule.CHECKPOINT_HYPER_PARAMS_KEY] = record["data"]["init_args"]
        checkpoint["lightning_flows"] = record | save_average(checkpoint, self.attached, self)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse the state of another model, and malformed training state."""
        check_training(checkpoint)
        check_record(checkpoint)
        check_state_dict(self, checkpoint)
        if (trainer := self.attached) is None:
            return
        keep_paths_in(checkpoint, trainer)
        if trainer.state.fn != "fit":
            checkpoint.pop("loops", None)  # an evaluation starts at its beginning
        else:
            check_resumable(checkpoint, trainer, describe(self)["init_args"])
            resume_current(checkpoint, trainer, self)
            self._resumed = {key: checkpoint[key] for key in ("lightning_flows", "optimizer_states", "lr_schedulers")}

    @classmethod
    def load_from_checkpoint(  # type: ignore[override]
        cls,
        checkpoint_path: Any,
        map_location: Any = None,
        hparams_file: None = None,
        strict: bool | None = None,
        weights_only: Literal[True] | None = True,
        **kwargs: Any,
    ) -> Any:
        """Rebuild a module of this class from a file, on the CPU or ``map_location``; kwargs override its arguments.

        Only tensors and plain values are read. Raises: CheckpointError; UsageError for ``hparams_file`` or pickles.
        """
        if hparams_file is not None or weights_only is False:
            raise UsageError("expected hparams_file=None and weights_only=True: a checkpoint has its own arguments")
        checkpoint = read_checkpoint(checkpoint_path)
        model: FlowModule = construct(cls, checkpoint["lightning_flows"]["model"]["init_args"] | kwargs)
        if strict := model.strict_loading if strict is None else strict:
            check_state_dict(model, checkpoint)
        else:
            check_splines(model, checkpoint)
        model.load_state_dict(checkpoint["state_dict"], strict=bool(strict))
        return model if map_location is None else model.to(map_location)

    @property
    def datamodule(self) -> Any:
        """The trainer's data module, or None."""
        return getattr(self.attached, "datamodule", None)
