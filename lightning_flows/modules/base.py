"""Training of flows: the optimiser, its schedule, and checkpoints that rebuild what they hold."""

import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torchmetrics import Metric

from lightning_flows import __version__
from lightning_flows.errors import CheckpointError, UsageError
from lightning_flows.functional.ranks import gather_from_ranks
from lightning_flows.functional.streams import seed_all

OPTIMIZERS = {"adam": torch.optim.Adam, "adamax": torch.optim.Adamax}
CALLBACKS = {"val/bpd": "defaults/fit.yaml", "val/nll": "table4/base.yaml"}
"""What validation logs for pictures and graphs, and a config whose callbacks monitor it."""


class FlowModule(LightningModule, ABC):
    """A flow with its optimiser. A subclass builds the flow and says what a step of training and evaluation is.

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

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """The optimiser and its schedule."""
        optimizer = self.build_optimizer()
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self.learning_rate_factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": self.schedule_interval}}

    def on_fit_start(self) -> None:
        """Refuse a callback that would miss what it monitors only after an epoch. Raises: UsageError."""
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
            monitor = getattr(callback, "monitor", None) if isinstance(callback, Checkpoint | EarlyStopping) else None
            if self.monitored and monitor in CALLBACKS and monitor != self.monitored:
                raise UsageError(
                    f"expected callbacks that monitor {self.monitored}, which {type(self).__name__} logs; got "
                    f"{type(callback).__name__} for {monitor}: give trainer.callbacks as those in "
                    f"{CALLBACKS[self.monitored]}, or that config first"
                )

    def build_optimizer(self) -> torch.optim.Optimizer:
        """The optimiser, in the fastest form that the precision allows.

        A call for each of some hundred small tensors would take a quarter of the step of a flow over graphs. The one
        kernel of a fused Adam could undo the scaling of 16-mixed by itself, so in mixed precision Lightning refuses to
        clip gradients beside it.
        """
        name = self.hparams["optimizer"]
        mixed = self._trainer is not None and "mixed" in self._trainer.precision
        form = {"fused": True} if name == "adam" and not mixed else {"foreach": True}
        options = {key: self.hparams[key] for key in ("betas", "eps")}
        return OPTIMIZERS[name](self.parameters(), lr=self.hparams["learning_rate"], **options, **form)

    @property
    def seed(self) -> int:
        """Seed of the run's random numbers, as ``seed_everything`` was told; 0 where it was not called."""
        return int(os.environ.get("PL_GLOBAL_SEED", 0))

    def on_train_start(self) -> None:
        """Let the learning rate of the config win over the one a resumed optimiser brings along.

        Raises: UsageError if the processes of a run start at different steps.
        """
        _check_same_start(torch.tensor(self.global_step, device=self.device))
        schedule = self.lr_schedulers()
        assert isinstance(schedule, torch.optim.lr_scheduler.LambdaLR)
        base = self.hparams["learning_rate"]
        schedule.base_lrs = [base] * len(schedule.base_lrs)
        for group in schedule.optimizer.param_groups:
            group["initial_lr"] = base
            group["lr"] = base * self.learning_rate_factor(schedule.last_epoch)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Let the random numbers of a step follow from the seed and the step, so that a resumed run draws the same.

        They are the same on all ranks, each of which takes its own of what is drawn for a whole batch.
        """
        seed_all(self.seed, "training step", self.trainer.fit_loop.total_batch_idx)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Write down what rebuilds model and data: class paths and plain arguments."""
        record = {"version": __version__, "model": describe(self)}
        datamodule = getattr(self._trainer, "datamodule", None) if self._trainer else None
        if datamodule is not None:
            record["data"] = describe(datamodule)
        checkpoint["lightning_flows"] = record

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse the state of another model."""
        check_state_dict(self, checkpoint)

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


def check_state_dict(model: torch.nn.Module, checkpoint: Mapping[str, Any]) -> None:
    """Raise CheckpointError unless a checkpoint's state fits the model: same names, same shapes."""
    own, state_dict = model.state_dict(), checkpoint["state_dict"]
    missing, unknown = own.keys() - state_dict.keys(), state_dict.keys() - own.keys()
    reshaped = {key for key in own.keys() & state_dict.keys() if own[key].shape != state_dict[key].shape}
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


def _plain(value: Any) -> Any:
    return [_plain(v) for v in value] if isinstance(value, tuple | list) else value
