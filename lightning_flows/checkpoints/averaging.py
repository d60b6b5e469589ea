"""Averaged weights in checkpoints: ``state_dict`` is the average, which everything but training uses."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Trainer
from lightning.pytorch import callbacks as lightning_callbacks
from lightning.pytorch.callbacks import StochasticWeightAveraging
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from lightning_flows.checkpoints.forms import same_form
from lightning_flows.checkpoints.training import ADVICE, check_state_dict, without_compiled
from lightning_flows.errors import CheckpointError

CURRENT = "current_model_state"
"""Entry of a checkpoint with the weights that training resumes from, as Lightning's WeightAveraging names it."""
FORM, AVERAGING_STATE = {"method": "", "num_updates": 0}, {"n_averaged": torch.tensor(0)}
WEIGHT_AVERAGING: tuple[Any, ...] = tuple(
    getattr(lightning_callbacks, name) for name in ("WeightAveraging",) if hasattr(lightning_callbacks, name)
)
"""Lightning's WeightAveraging in a tuple, which is empty before Lightning 2.6."""
METHODS = "EMA", "mean", "SWA", "other"


class Average(NamedTuple):
    """Averaged weights by their names in the module, and the plain values that describe how they were averaged."""

    weights: dict[str, Tensor]
    record: dict[str, Any]


def averaged_model(trainer: Trainer) -> AveragedModel | None:
    """The model of a trainer's WeightAveraging; None without one, or before training."""
    models = (each._average_model for each in _callbacks(trainer) if isinstance(each, WEIGHT_AVERAGING))
    return next(models, None)


def stochastic_average(trainer: Trainer, module: nn.Module) -> tuple[int, dict[str, Tensor]] | None:
    """Number of updates and weights of a trainer's StochasticWeightAveraging, by their names in a module, or None."""
    for each in _callbacks(trainer):
        if isinstance(each, StochasticWeightAveraging):
            state, names = each.state_dict(), without_compiled(dict(module.named_parameters()))
            weights = state["average_model_state"] or {}  # those of the callback itself
            return state["n_averaged"], {name: value for name, value in weights.items() if name in names}
    return None


def average_of(trainer: Trainer, module: nn.Module) -> Average | None:
    """The average of a module's weights; None if the trainer does not average, or has not begun to."""
    model = averaged_model(trainer)
    if model is not None and model.n_averaged:
        return Average(model.module.state_dict(), averaging_method(model) | {"num_updates": int(model.n_averaged)})
    stochastic = None if model is not None else stochastic_average(trainer, module)
    if stochastic is not None and stochastic[0]:
        return Average(stochastic[1], {"method": "SWA", "num_updates": stochastic[0]})
    return None


def save_average(checkpoint: dict[str, Any], trainer: Trainer | None, module: nn.Module) -> dict[str, Any]:
    """Make the average the ``state_dict`` of a checkpoint, even of one without training state; return its record.

    Before the first update, the ``state_dict`` is the current weights; Lightning would save the initial ones.
    """
    _drop_functions(checkpoint)
    average = None if trainer is None else average_of(trainer, module)
    current = checkpoint.get(CURRENT, checkpoint["state_dict"])
    checkpoint["state_dict"] = current if average is None else current | average.weights
    if average is None:
        return {}
    if "optimizer_states" in checkpoint:
        checkpoint[CURRENT] = current
    return {"averaging": average.record}


def _drop_functions(checkpoint: dict[str, Any]) -> None:
    """Remove functions from the states of schedules, such as that of SWALR in torch 2.6: they are not plain values.

    A schedule that loads such a state keeps its own functions.
    """
    callbacks = checkpoint.get("callbacks", {}).values()
    schedules = [each.get("scheduler_state") for each in callbacks if isinstance(each, dict)]
    for state in [*checkpoint.get("lr_schedulers", []), *schedules]:
        for name in [name for name, value in (state or {}).items() if callable(value)]:
            del state[name]


def resume_current(checkpoint: dict[str, Any], trainer: Trainer, module: nn.Module) -> None:
    """Resume from the current weights in a checkpoint with an average, if this run averages with SWA.

    WeightAveraging resumes from them itself. Raises: CheckpointError if they do not fit the module.
    """
    current, state = checkpoint.get(CURRENT), checkpoint.get("averaging_state", AVERAGING_STATE)
    if current is None:
        return
    if not isinstance(current, Mapping) or not same_form(AVERAGING_STATE, state):
        raise CheckpointError(f"the checkpoint's current weights are malformed: {ADVICE}")
    check_state_dict(module, {**checkpoint, "state_dict": current})
    if any(isinstance(each, StochasticWeightAveraging) for each in _callbacks(trainer)):
        checkpoint["state_dict"] = checkpoint[CURRENT]
    elif averaged_model(trainer) is None:
        rank_zero_warn(
            f"the checkpoint has {averaging_in(checkpoint)}, but this run does not average: training starts from them"
        )


def averaging_in(checkpoint: Mapping[str, Any]) -> str | None:
    """Describe how the weights of a checkpoint were averaged; None if they were not.

    >>> averaging_in({"lightning_flows": {"averaging": {"method": "EMA", "decay": 0.999, "num_updates": 1200}}})
    'averaged weights (EMA, decay 0.999, 1,200 updates)'
    """
    record = checkpoint.get("lightning_flows", {}).get("averaging")
    return described(record) if record is not None and same_form(FORM, record) else None


def described(record: Mapping[str, Any]) -> str:
    """One line on an average."""
    decay, method, num = record.get("decay"), record["method"], record["num_updates"]
    rate = f", decay {decay:g}" if isinstance(decay, float) else ""
    updates = "1 update" if num == 1 else f"{num:,} updates"
    return f"averaged weights ({method if method in METHODS else 'other'}{rate}, {updates})"


def averaging_method(model: AveragedModel) -> dict[str, Any]:
    """Recognize an averaging function by the share of the old average that it keeps at the first and ninth update."""
    kept = []
    for num in (1, 9):
        old, new = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
        if model.multi_avg_fn is not None:
            model.multi_avg_fn([old], [new], torch.tensor(num))
        elif model.avg_fn is not None:
            old = model.avg_fn(old, new, torch.tensor(num))
        else:
            old = torch.tensor(num / (num + 1))
        kept.append(round(float(old), 6))
    if kept[0] == kept[1]:
        return {"method": "EMA", "decay": kept[0]}
    return {"method": "mean" if kept == [0.5, 0.9] else "other"}


def _callbacks(trainer: Trainer) -> list[Any]:
    return trainer.callbacks  # type: ignore[attr-defined]
