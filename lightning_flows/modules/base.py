"""Training of flows: the optimizer, its schedule, and checkpoints that rebuild what they hold."""

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torchmetrics import Metric

from lightning_flows import __version__
from lightning_flows.checkpoints import construct, describe, read_checkpoint
from lightning_flows.checkpoints.forms import check_record, check_training
from lightning_flows.checkpoints.plain import check_describable
from lightning_flows.checkpoints.training import check_counts, check_resumable, guard_optimizers, keep_paths_in
from lightning_flows.errors import CheckpointError, UsageError
from lightning_flows.functional.ranks import gather_from_ranks
from lightning_flows.functional.streams import seed_all
from lightning_flows.modules.compiled import keep_names_of_compiled, without_compiled
from lightning_flows.modules.monitored import check_monitors
from lightning_flows.modules.rates import Rates

OPTIMIZERS = {"adam": torch.optim.Adam, "adamax": torch.optim.Adamax}


class FlowModule(LightningModule, ABC):
    """A flow with its optimizer. Subclasses build the flow and define a step of training and evaluation.

    A batch is a mapping with ``index`` ``(B,)``, the number of each item, and the items themselves.

    Args:
        event_shape: shape of an item; linked from the data on the command line.
        optimizer: ``adam`` or ``adamax``.
        learning_rate: largest learning rate.
        betas: decay rates of the moments.
        eps: added to the root of the second moment.
    """

    schedule_interval: Literal["epoch", "step"] = "epoch"
    """When :meth:`learning_rate_factor` is asked anew."""

    monitored: str = ""
    """What validation logs, a key of CALLBACKS."""

    on_batches_done: Callable[[float], None] | None = None
    """Told how many batches of a test or prediction are done, of the last one a part; set by what shows progress."""

    model: Any  # a subclass says which
    _rates: Rates | None = None
    _resumed: dict[str, Any] | None = None  # the checkpoint's record and schedules, until training starts

    def __init__(
        self,
        event_shape: Sequence[int],
        *,
        optimizer: Literal["adam", "adamax"] = "adam",
        learning_rate: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-7,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()  # those of the subclass too: plain values, so a checkpoint can rebuild it
        _check_optimizer(learning_rate, betas, eps)
        keep_names_of_compiled(self)
        self.event_shape = tuple(int(n) for n in event_shape)
        self.model = self.build_model()

    @abstractmethod
    def build_model(self) -> nn.Module:
        """The flow over items of ``self.event_shape``, from ``self.hparams``."""

    @abstractmethod
    def sample(self, num: int, *, temperature: float = 1.0, generator: torch.Generator | None = None) -> Any:
        """Draw ``num`` items; ``temperature`` scales the noise."""

    @abstractmethod
    def learning_rate_factor(self, progress: int) -> float:
        """Share of the largest learning rate in an epoch or step: see ``schedule_interval``."""

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer and its schedule; subclasses may return any form that Lightning accepts."""
        optimizer = self.build_optimizer()
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self.learning_rate_factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": self.schedule_interval}}

    def on_fit_start(self) -> None:
        """Fail early on arguments that cannot be saved in a checkpoint and on monitored metrics that are never logged.

        Raises: UsageError; CheckpointError if optimizers or schedules do not match the checkpoint to resume from.
        """
        check_describable(self, "model")
        if (datamodule := self._datamodule()) is not None:
            check_describable(datamodule, "data")
        check_monitors(self, self.trainer, self.monitored)
        guard_optimizers(self.trainer.optimizers, self._has_own_optimizer())
        self._rates = Rates(self.trainer)
        if self._resumed is not None:
            check_counts(self._resumed["counts"], self.trainer)

    def build_optimizer(self) -> torch.optim.Optimizer:
        """The optimizer, in the fastest form that the precision allows.

        Updating some hundred small tensors one by one would take a quarter of the step of a flow on graphs. Fused Adam
        could unscale the gradients of 16-mixed itself, so Lightning refuses to clip gradients with it in mixed
        precision.
        """
        name = self.hparams["optimizer"]
        mixed = self._trainer is not None and "mixed" in self._trainer.precision
        form = {"fused": True} if name == "adam" and not mixed else {"foreach": True}
        options = {key: self.hparams[key] for key in ("betas", "eps")}
        return OPTIMIZERS[name](self.parameters(), lr=self.hparams["learning_rate"], **options, **form)

    @property
    def seed(self) -> int:
        """Seed of the run, as passed to ``seed_everything``; 0 if that was not called."""
        return int(os.environ.get("PL_GLOBAL_SEED", 0))

    def on_train_start(self) -> None:
        """Let the learning rate of the config override that of a resumed optimizer.

        A subclass's optimizer or schedule is restored as saved, unless ``learning_rate`` has changed.
        Raises: UsageError if the processes of a run start at different steps.
        """
        _check_same_start(torch.tensor(self.global_step, device=self.device))
        resumed, self._resumed = self._resumed, None
        rate: Any = self.hparams.get("learning_rate")
        schedule = self.lr_schedulers()
        if isinstance(schedule, torch.optim.lr_scheduler.LambdaLR) and self._has_own_optimizer():
            schedule.base_lrs = [rate] * len(schedule.base_lrs)
            for group in schedule.optimizer.param_groups:
                group["initial_lr"] = rate
                group["lr"] = rate * self.learning_rate_factor(schedule.last_epoch)
        elif self._rates is not None and resumed is not None and rate and resumed["rate"]:
            self._rates.scale(rate / resumed["rate"])

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Seed each step from the run's seed and the step, so that a resumed run draws the same random numbers.

        They are the same on all ranks, each of which uses its own share of the draws for the whole batch.
        """
        seed_all(self.seed, "training step", self.trainer.fit_loop.total_batch_idx)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save what is needed to rebuild model and data: class paths and plain arguments."""
        record: dict[str, Any] = {"version": __version__, "seed_everything": self.seed, "model": describe(self)}
        checkpoint[self.CHECKPOINT_HYPER_PARAMS_KEY] = record["model"]["init_args"]
        if (datamodule := self._datamodule()) is not None:
            record["data"] = describe(datamodule)
            checkpoint[datamodule.CHECKPOINT_HYPER_PARAMS_KEY] = record["data"]["init_args"]
        checkpoint["lightning_flows"] = record

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse the state of another model, and malformed training state."""
        check_training(checkpoint)
        check_record(checkpoint)
        check_state_dict(self, checkpoint)
        if self._trainer is None:
            return
        keep_paths_in(checkpoint, self.trainer)
        if self.trainer.state.fn != "fit":
            checkpoint.pop("loops", None)  # an evaluation starts at its beginning
        else:
            check_resumable(checkpoint, self.trainer)
            rate = checkpoint["lightning_flows"]["model"]["init_args"].get("learning_rate")
            counts = len(checkpoint["optimizer_states"]), checkpoint["lr_schedulers"]
            self._resumed = {"rate": rate if isinstance(rate, int | float) else None, "counts": counts}

    @classmethod
    def load_from_checkpoint(  # type: ignore[override]
        cls,
        checkpoint_path: Any,
        map_location: Any = None,
        hparams_file: None = None,
        strict: bool | None = None,
        weights_only: bool | None = True,
        **kwargs: Any,
    ) -> Any:
        """Rebuild a model of this class from a checkpoint, of which only tensors and plain values are read.

        Args:
            checkpoint_path: file path; URLs are refused.
            map_location: device for the model; the host by default.
            hparams_file: must be None; the arguments are in the checkpoint.
            strict: whether all names must match; ``strict_loading`` by default.
            weights_only: True or None.
            kwargs: override arguments in the checkpoint.
        """
        if hparams_file is not None or weights_only is False:
            raise UsageError(
                "a checkpoint is read with its own arguments and weights_only=True: leave both options out"
            )
        checkpoint = read_checkpoint(checkpoint_path)
        arguments = {**checkpoint["lightning_flows"]["model"]["init_args"], **kwargs}
        model: FlowModule = construct(cls, arguments)
        strict = model.strict_loading if strict is None else strict
        if strict:
            check_state_dict(model, checkpoint)
        model.load_state_dict(checkpoint["state_dict"], strict=strict)
        return model if map_location is None else model.to(map_location)

    def _has_own_optimizer(self) -> bool:
        kind = type(self)
        return all(
            getattr(kind, name) is getattr(FlowModule, name) for name in ("configure_optimizers", "build_optimizer")
        )

    def _datamodule(self) -> Any:
        return getattr(self._trainer, "datamodule", None) if self._trainer else None

    def _tell_progress(self, batches: float) -> None:
        if self.on_batches_done is not None:
            self.on_batches_done(batches)

    def _log_metric(self, name: str, metric: Metric, **kwargs: Any) -> None:
        # compute() has already reduced over ranks: the value is the same on each
        self.log(name, metric.compute(), sync_dist=True, **kwargs)
        metric.reset()


def _check_same_start(step: Tensor) -> None:
    found = sorted(set(gather_from_ranks(step)))
    if len(found) > 1:
        raise UsageError(
            f"expected all processes to start at one step; got {', '.join(map(str, found))}: all hosts must see the "
            "same folder of runs"
        )


def check_state_dict(model: torch.nn.Module, checkpoint: Mapping[str, Any]) -> None:
    """Raise CheckpointError unless a checkpoint's state fits the model: same names, same shapes."""
    own, state_dict = model.state_dict(), without_compiled(checkpoint["state_dict"])
    missing, unknown = own.keys() - state_dict.keys(), state_dict.keys() - own.keys()
    reshaped = {key for key in own.keys() & state_dict.keys() if _shape(own[key]) != _shape(state_dict[key])}
    problems = [
        f"{len(keys)} {what}, such as {min(keys)}"
        for what, keys in (("missing", missing), ("unknown", unknown), ("of another shape", reshaped))
        if keys
    ]
    if problems:
        version = checkpoint.get("lightning_flows", {}).get("version", __version__)
        advice = (
            "Leave out the model's arguments to take them from the checkpoint"
            if version == __version__
            else f"It was written by lightning_flows {version}, and this is {__version__}: use that one, or train anew"
        )
        raise CheckpointError(
            f"expected a checkpoint of this {type(model).__name__}; got one of another model: {'; '.join(problems)}. "
            f"{advice}"
        )


def _shape(value: Any) -> Any:
    return value.shape if isinstance(value, Tensor) else None


def _check_optimizer(learning_rate: float, betas: Sequence[float], eps: float) -> None:
    if not 0 < learning_rate < math.inf:
        raise UsageError(f"learning_rate is {learning_rate}: give a finite number above 0")
    if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
        raise UsageError(f"betas are {tuple(betas)}: give two numbers from 0 to below 1")
    if not 0 <= eps < math.inf:
        raise UsageError(f"eps is {eps}: give a finite number of at least 0")
