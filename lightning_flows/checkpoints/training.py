"""Validate what resumed training takes from a checkpoint."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from lightning_flows import __version__
from lightning_flows.checkpoints.forms import same_form
from lightning_flows.checkpoints.splines import check_splines
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
        "ax",
    ]
)
"""Names of optimizer states that have their parameter's shape."""

NEEDED = {
    torch.optim.Adam: {"step", "exp_avg", "exp_avg_sq"},
    torch.optim.AdamW: {"step", "exp_avg", "exp_avg_sq"},
    torch.optim.Adamax: {"step", "exp_avg", "exp_inf"},
}
FREE = ("params", "initial_lr", "fused", "foreach", "capturable", "differentiable")
"""Options of a parameter group that depend on precision or device."""
PATHS = ("best_model_path", "kth_best_model_path", "last_model_path")
ADVICE = "use a checkpoint of this model that fit wrote, or only its weights with --weights_from"


def check_state_dict(model: torch.nn.Module, checkpoint: Mapping[str, Any]) -> None:
    """Raise CheckpointError unless a checkpoint's state fits the model: same names, same shapes, same splines."""
    check_splines(model, checkpoint)
    own, state_dict = model.state_dict(), without_compiled(checkpoint["state_dict"])
    missing, unknown = own.keys() - state_dict.keys(), state_dict.keys() - own.keys()
    reshaped = {key for key in own.keys() & state_dict.keys() if _shape(own[key]) != _shape(state_dict[key])}
    problems = [
        f"{len(keys)} {what}, such as {min(keys)}"
        for what, keys in (("missing", missing), ("unknown", unknown), ("of a different shape", reshaped))
        if keys
    ]
    if problems:
        version = checkpoint.get("lightning_flows", {}).get("version", __version__)
        advice = (
            "Omit the model's arguments to take them from the checkpoint"
            if version == __version__
            else f"lightning_flows {version} wrote it, but this is {__version__}: use that version, or retrain"
        )
        raise CheckpointError(
            f"expected a checkpoint of this {type(model).__name__}; got one of another model: {'; '.join(problems)}. "
            f"{advice}"
        )


def without_compiled(state: Mapping[str, Any]) -> dict[str, Any]:
    """Rename a state dict of modules compiled with ``torch.compile`` to the names of the uncompiled ones.

    >>> without_compiled({"model._orig_mod.flow.mean": 1})
    {'model.flow.mean': 1}
    """
    return {key.replace("_orig_mod.", ""): value for key, value in state.items()}


def check_resumable(checkpoint: Mapping[str, Any], trainer: Trainer, now: Mapping[str, Any]) -> None:
    """Raise CheckpointError unless training can resume: all entries exist, with this optimizer and schedule.

    ``now`` are the plain arguments of the module that resumes.
    """
    missing = [key for key in ("optimizer_states", "lr_schedulers", "loops") if key not in checkpoint]
    if missing:
        raise CheckpointError(
            f"the checkpoint only contains weights, without {' and '.join(missing)} (save_weights_only), so fit cannot "
            "resume from it: use last.ckpt, or start from its weights with --weights_from"
        )
    before = checkpoint["lightning_flows"]["model"]["init_args"]
    for name in ("optimizer", "lr_scheduler"):
        old, new = (_class_name(arguments.get(name)) for arguments in (before, now))
        if old != new:
            raise CheckpointError(
                f"the checkpoint's {name} is {old}, but this run's is {new}: use --{name} {old}, or only take the "
                "weights with --weights_from"
            )
    loops = {"fit_loop": trainer.fit_loop.state_dict()}
    if not same_form(_without_data(loops), checkpoint["loops"]):
        raise CheckpointError(f"the checkpoint's loops are malformed: {ADVICE}")


def keep_paths_in(checkpoint: dict[str, Any], trainer: Trainer) -> None:
    """Restrict the restored state of each ModelCheckpoint to files in its own folder.

    A run that resumes in its folder finds its files there by name, even if the folder was renamed; a new run starts
    without any. EarlyStopping keeps the patience of this run.

    Raises: CheckpointError if the state of a built-in callback is malformed.
    """
    states = checkpoint["callbacks"] = dict(checkpoint.get("callbacks", {}))
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        state, keeps = states.get(callback.state_key), isinstance(callback, ModelCheckpoint)
        if state is None or not (keeps or type(callback).__module__.startswith(("lightning.", "lightning_flows."))):
            continue
        if not same_form(callback.state_dict(), state, whole=False) or (keeps and not _has_scores(state)):
            raise CheckpointError(f"the checkpoint's state of {type(callback).__name__} is malformed: {ADVICE}")
        if isinstance(callback, EarlyStopping):
            states[callback.state_key] = {**state, "patience": callback.patience}
        if isinstance(callback, ModelCheckpoint):
            dirpath, resumed = str(callback.dirpath or "."), trainer.ckpt_path
            del states[callback.state_key]
            if state["dirpath"] == dirpath or (resumed and Path(resumed).resolve().parent == Path(dirpath).resolve()):
                states[callback.state_key] = _relocated(state, dirpath)


def guard_optimizers(optimizers: list[Optimizer], *, override: bool) -> None:
    """Validate each state that an optimizer loads; with ``override``, its options replace the saved ones."""

    def guard(optimizer: Optimizer, state: dict[str, Any]) -> dict[str, Any]:
        if problem := _problem(optimizer, state):
            raise CheckpointError(f"the checkpoint's state of {type(optimizer).__name__} has {problem}: {ADVICE}")
        if not override:
            return state
        pairs = zip(state["param_groups"], optimizer.param_groups, strict=True)
        options = optimizer.defaults.keys() - {"lr"}
        groups = [{**saved, **{key: own[key] for key in options & own.keys()}} for saved, own in pairs]
        return {**state, "param_groups": groups}

    for optimizer in optimizers:
        optimizer.register_load_state_dict_pre_hook(guard)


def check_counts(checkpoint: Mapping[str, Any], trainer: Trainer) -> None:
    """Raise CheckpointError unless number and structure of optimizers and schedules match the checkpoint."""
    num, schedules = len(checkpoint["optimizer_states"]), checkpoint["lr_schedulers"]
    if num != len(trainer.optimizers):
        raise CheckpointError(f"the checkpoint has {num} optimizers, but the model {len(trainer.optimizers)}: {ADVICE}")
    for config, state in zip(trainer.lr_scheduler_configs, schedules, strict=False):
        own: dict[str, Any] = config.scheduler.state_dict()
        newer = {key for key, value in own.items() if key.startswith("_") and isinstance(value, bool)} - state.keys()
        own = {key: value for key, value in own.items() if key not in newer}  # flags that an older torch lacked
        kind = type(config.scheduler)  # state entries become attributes and must not shadow methods
        if not same_form(own, state) or any(hasattr(kind, key) for key in state.keys() - own.keys()):
            raise CheckpointError(f"the checkpoint's state of {kind.__name__} is malformed: {ADVICE}")


def initial_rates(trainer: Trainer) -> list[list[float]]:
    """Return the initial learning rate of each parameter group."""
    return [[_initial(group) for group in optimizer.param_groups] for optimizer in trainer.optimizers]


def rate_factor(model: Mapping[str, Any], rate: float | None) -> float:
    """Ratio of a learning rate to that in a checkpoint's record of its model; 1 if either is unknown."""
    old = ((model["init_args"].get("optimizer") or {}).get("init_args", {})).get("lr")
    return rate / old if isinstance(old, int | float) and isinstance(rate, int | float) and old > 0 else 1.0


def rescale_rates(trainer: Trainer, configured: list[list[float]], factor: float) -> None:
    """Multiply the learning rates loaded from a checkpoint by a factor, except those that start as configured.

    StochasticWeightAveraging sets its own rates once it has begun.
    """
    for optimizer, rates in zip(trainer.optimizers, configured, strict=False):
        for group, rate in zip(optimizer.param_groups, rates, strict=False):
            if factor != 1 and _initial(group) != rate and "swa_lr" not in group:
                group |= {key: group[key] * factor for key in {"lr", "initial_lr", "max_lr", "min_lr"} & group.keys()}
    for config in trainer.lr_scheduler_configs:
        scheduler: Any = config.scheduler
        groups = scheduler.optimizer.param_groups
        if hasattr(scheduler, "base_lrs"):
            scheduler.base_lrs = [_initial(group) for group in groups]
        if isinstance(scheduler, LambdaLR):  # the rate depends on the step: options of this run apply at once
            for group, base, factor_of in zip(groups, scheduler.base_lrs, scheduler.lr_lambdas, strict=True):
                group["lr"] = base * factor_of(scheduler.last_epoch)


def _initial(group: Mapping[str, Any]) -> float:
    return float(group.get("initial_lr", group["lr"]))


def _class_name(component: Any) -> str:
    """Name of a component on the command line."""
    return component["class_path"].rpartition(".")[2] if isinstance(component, Mapping) else "null"


def _shape(value: Any) -> Any:
    return value.shape if isinstance(value, Tensor) else None


def _problem(optimizer: Optimizer, state: Mapping[str, Any]) -> str | None:
    groups, states = state.get("param_groups"), state.get("state")
    if not isinstance(states, Mapping) or not isinstance(groups, list):
        return "malformed entries"
    if len(groups) != len(optimizer.param_groups):
        return f"{len(groups)} groups of parameters for {len(optimizer.param_groups)}"
    for saved in groups:
        numbers = saved.get("params") if isinstance(saved, Mapping) else None
        if not isinstance(numbers, list) or any(type(n) is not int for n in numbers):
            return "groups without numbers of their parameters"
    parameters: dict[int, Tensor] = {}
    for saved, group in zip(_with_newer_options(optimizer, groups), optimizer.param_groups, strict=True):
        options = {key: value for key, value in group.items() if key not in FREE}
        if len(saved["params"]) != len(group["params"]) or not same_form(options, saved):
            return "groups of another size or with other options"
        parameters |= dict(zip(saved["params"], group["params"], strict=True))
    if len(parameters) != sum(len(group["params"]) for group in optimizer.param_groups):
        return "a parameter in two places"
    if not states.keys() <= parameters.keys():
        return "states of parameters that do not exist"
    for number, each in states.items():
        if problem := _state_problem(type(optimizer), each, parameters[number]):
            return f"{problem} for parameter {number}"
    return None


def _with_newer_options(optimizer: Optimizer, groups: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Saved groups of parameters, with torch's own defaults for options that an older version lacked."""
    twin = copy.copy(optimizer)
    twin.__setstate__({"state": {}, "param_groups": [dict(group) for group in groups]})
    return twin.param_groups


def _state_problem(kind: type, state: Any, parameter: Tensor) -> str | None:
    if not isinstance(state, Mapping):
        return "no state"
    needed = NEEDED.get(kind, set())
    if missing := needed - state.keys():
        return f"no {min(missing)}, as if from another optimizer,"
    for key, value in state.items():
        if key in LIKE_PARAMETERS and (value is not None or key in needed):
            if not isinstance(value, Tensor) or value.shape != parameter.shape:
                return f"a {key} of shape {tuple(getattr(value, 'shape', ()))} for {tuple(parameter.shape)}"
            if not value.is_floating_point() and not parameter.is_complex():
                return f"a {key} of {value.dtype}"
            if torch.empty_like(value, device="meta").stride() != value.stride():  # fused kernels require dense memory
                return f"a {key} with gaps, or elements that share memory,"
        if key == "step" and not same_form(0.0, value):
            return "a step that is not a number"
    return None


def _relocated(state: Mapping[str, Any], dirpath: str) -> dict[str, Any]:
    """Replace paths in the state of a ModelCheckpoint by those of files with the same names in a folder, or by ""."""

    def here(path: str) -> str:
        name = path.replace("\\", "/").rpartition("/")[2]
        own = Path(dirpath) / name
        there = 0 < len(name) < 256 and ("://" in dirpath or (own.is_file() and not own.is_symlink()))
        return f"{dirpath}/{name}" if there else ""

    scores = {here(path): score for path, score in state["best_k_models"].items() if here(path)}
    moved = {**state, **{key: here(state[key]) for key in PATHS}, "best_k_models": scores, "dirpath": dirpath}
    return moved if moved["best_model_path"] else {**moved, "best_model_score": None}


def _has_scores(state: Mapping[str, Any]) -> bool:
    numbers = [*state["best_k_models"].values(), *(state.get(key) for key in ("best_model_score", "kth_value"))]
    paths = [*state["best_k_models"], state["dirpath"], *(state[key] for key in PATHS)]
    return all(isinstance(path, str) for path in paths) and all(
        number is None or same_form(0.0, number) for number in numbers
    )


def _without_data(loops: dict[str, Any]) -> dict[str, Any]:
    """Progress of the loops without the state of their data loaders, which varies."""
    return {name: {k: v for k, v in loop.items() if "combined_loader" not in k} for name, loop in loops.items()}
