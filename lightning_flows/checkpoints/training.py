"""Validate what resumed training loads from a checkpoint besides the weights."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor
from torch.optim import Optimizer

from lightning_flows.checkpoints.forms import same_form
from lightning_flows.errors import CheckpointError

LIKE_PARAMETERS = frozenset(
    [
        "exp_avg",
        "exp_avg_sq",
        "max_exp_avg_sq",
        "exp_inf",
        "momentum_buffer",
        "square_avg",
        "grad_avg",
        "acc_delta",
        "sum",
        "prev",
        "step_size",
        "eta",
        "ax",
    ]
)
"""Names of the states of torch's optimizers that have their parameter's shape."""

NEEDED = {
    torch.optim.Adam: {"step", "exp_avg", "exp_avg_sq"},
    torch.optim.AdamW: {"step", "exp_avg", "exp_avg_sq"},
    torch.optim.Adamax: {"step", "exp_avg", "exp_inf"},
}
FREE = ("params", "initial_lr", "fused", "foreach", "capturable", "differentiable")
"""Options of a parameter group that depend on precision or device."""
PATHS = ("best_model_path", "kth_best_model_path", "last_model_path")
ADVICE = "give a checkpoint that this model's fit wrote, or train anew"


def check_resumable(checkpoint: Mapping[str, Any], trainer: Trainer) -> None:
    """Raise CheckpointError unless training can resume from a checkpoint: all entries are present and well-formed."""
    missing = [key for key in ("optimizer_states", "lr_schedulers", "loops") if key not in checkpoint]
    if missing:
        raise CheckpointError(
            f"the checkpoint holds weights alone, without {' and '.join(missing)} (save_weights_only), so fit cannot "
            "go on from it: give last.ckpt, or one that was saved whole"
        )
    loops = {"fit_loop": trainer.fit_loop.state_dict()}
    if not same_form(_without_data(loops), checkpoint["loops"]):
        raise CheckpointError(f"the checkpoint's loops are of another form: {ADVICE}")


def keep_paths_in(checkpoint: dict[str, Any], trainer: Trainer) -> None:
    """Restrict the restored state of each ModelCheckpoint to files in its own folder.

    A run that resumes in its folder finds its files there by name, even if the folder was renamed; a new run starts
    without any. Raises: CheckpointError if the state of a built-in callback is malformed.
    """
    states = dict(checkpoint.get("callbacks", {}))
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        state, keeps = states.get(callback.state_key), isinstance(callback, ModelCheckpoint)
        ours = type(callback).__module__.partition(".")[0] in ("lightning", "lightning_flows")
        if state is None or not (ours or keeps):
            continue
        if not same_form(callback.state_dict(), state, whole=False) or (keeps and not _is_checkpoint_state(state)):
            raise CheckpointError(f"the checkpoint's state of {type(callback).__name__} is of another form: {ADVICE}")
        if keeps:
            moved = _moved(state, str(callback.dirpath or "."), trainer.ckpt_path)
            states = {key: each for key, each in states.items() if key != callback.state_key}
            states |= {callback.state_key: moved} if moved else {}
    checkpoint["callbacks"] = states


def guard_optimizers(optimizers: list[Optimizer], own: bool) -> None:
    """Validate each state that an optimizer loads; if ``own``, current options override the saved ones."""
    for optimizer in optimizers:
        optimizer.register_load_state_dict_pre_hook(_own if own else _check)


def check_counts(checkpoint_counts: tuple[int, list[Any]], trainer: Trainer) -> None:
    """Raise CheckpointError unless number and structure of optimizers and schedules match the checkpoint."""
    num, schedules = checkpoint_counts
    if num != len(trainer.optimizers):
        raise CheckpointError(f"the checkpoint has {num} optimizers, and the model {len(trainer.optimizers)}: {ADVICE}")
    for config, state in zip(trainer.lr_scheduler_configs, schedules, strict=False):
        own: Callable[[], Any] = config.scheduler.state_dict
        kind = type(config.scheduler)  # state entries become attributes and must not shadow methods
        if not same_form(own(), state) or any(hasattr(kind, key) for key in state.keys() - own().keys()):
            raise CheckpointError(f"the checkpoint's schedule of the learning rate is of no {kind.__name__}: {ADVICE}")


def _own(optimizer: Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    _check(optimizer, state)
    groups = []
    for saved, group in zip(state["param_groups"], optimizer.param_groups, strict=True):
        given = {key: value for key, value in group.items() if key not in ("params", "lr", "initial_lr")}
        groups.append({**saved, **given})
    return {**state, "param_groups": groups}


def _check(optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    problem = _problem(optimizer, state)
    if problem:
        raise CheckpointError(f"the checkpoint's state of {type(optimizer).__name__} has {problem}: {ADVICE}")


def _problem(optimizer: Optimizer, state: Mapping[str, Any]) -> str | None:
    groups, states = state.get("param_groups"), state.get("state")
    if (
        not isinstance(groups, list)
        or not isinstance(states, Mapping)
        or not all(isinstance(g, Mapping) for g in groups)
    ):
        return "another form"
    if len(groups) != len(optimizer.param_groups):
        return f"{len(groups)} groups of parameters for {len(optimizer.param_groups)}"
    parameters: dict[int, Tensor] = {}
    for saved, group in zip(groups, optimizer.param_groups, strict=True):
        numbers = saved.get("params")
        options = {key: value for key, value in group.items() if key not in FREE}
        if not isinstance(numbers, list) or any(type(n) is not int for n in numbers):
            return "groups without numbers of their parameters"
        if len(numbers) != len(group["params"]) or not same_form(options, saved):
            return "groups of another size or with other options"
        parameters |= dict(zip(numbers, group["params"], strict=True))
    if len(parameters) != sum(len(group["params"]) for group in optimizer.param_groups):
        return "a parameter in two places"
    if not states.keys() <= parameters.keys():
        return "states of parameters that there are not"
    for number, each in states.items():
        problem = _state_problem(type(optimizer), each, parameters[number])
        if problem:
            return f"{problem} for parameter {number}"
    return None


def _state_problem(kind: type, state: Any, parameter: Tensor) -> str | None:
    if not isinstance(state, Mapping):
        return "no state"
    needed = NEEDED.get(kind, set())
    missing = needed - state.keys()
    if missing:
        return f"no {min(missing)}, as of another optimizer,"
    for key, value in state.items():
        if key in LIKE_PARAMETERS and (value is not None or key in needed):
            if not isinstance(value, Tensor) or value.shape != parameter.shape:
                return f"a {key} of shape {tuple(getattr(value, 'shape', ()))} for {tuple(parameter.shape)}"
            if not value.is_floating_point() and not parameter.is_complex():
                return f"a {key} of {value.dtype}"
            if torch.empty_like(value, device="meta").stride() != value.stride():  # fused kernels take it to be dense
                return f"a {key} with gaps, or elements that share memory,"
        if key == "step" and not same_form(0.0, value):
            return "a step that is no number"
    return None


def _moved(state: Mapping[str, Any], dirpath: str, resumed: Any) -> dict[str, Any] | None:
    """State restricted to files in the folder; None unless the run resumes in it."""
    folder = Path(dirpath)
    goes_on = state["dirpath"] == dirpath or (resumed and Path(resumed).resolve().parent == folder.resolve())

    def here(path: str) -> str:
        name = path.replace("\\", "/").rpartition("/")[2]
        own = folder / name
        return f"{dirpath}/{name}" if name and ("://" in dirpath or (own.is_file() and not own.is_symlink())) else ""

    if not goes_on:
        return None
    scores = {here(path): score for path, score in state["best_k_models"].items() if here(path)}
    moved = {**state, **{key: here(state[key]) for key in PATHS}, "best_k_models": scores, "dirpath": dirpath}
    return moved if moved["best_model_path"] else {**moved, "best_model_score": None}


def _is_checkpoint_state(state: Mapping[str, Any]) -> bool:
    scores = state.get("best_k_models")
    if not isinstance(scores, Mapping) or not all(isinstance(state.get(key), str) for key in (*PATHS, "dirpath")):
        return False
    numbers = [
        *scores.values(),
        *(state[key] for key in ("best_model_score", "kth_value") if state.get(key) is not None),
    ]
    paths = [*scores, *(state[key] for key in PATHS)]
    return all(same_form(0.0, number) for number in numbers) and all(
        isinstance(path, str) and "\0" not in path and len(path) < 4096 for path in paths
    )


def _without_data(loops: dict[str, Any]) -> dict[str, Any]:
    """Progress of the loops without the state of their data loaders, which varies."""
    return {name: {k: v for k, v in loop.items() if "combined_loader" not in k} for name, loop in loops.items()}
