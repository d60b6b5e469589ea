"""The checkpoint named on the command line: its model and data, and how they differ from those in use."""

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_info
from packaging.version import InvalidVersion, Version

from lightning_flows.app.configs import given_config
from lightning_flows.checkpoints import describe, public_path, read_checkpoint
from lightning_flows.data import FlowDataModule
from lightning_flows.errors import CheckpointError
from lightning_flows.modules import FlowModule
from lightning_flows.modules.base import check_state_dict
from lightning_flows.modules.checkpoint import checkpoint_config, import_class, not_permitted
from lightning_flows.trust import vetted_imports

SPLITS_SINCE = "0.3.0"
"""The first version in which an image's split depends on its content."""

TRAINER_COMMANDS = ("fit", "validate", "test", "predict")


def given_checkpoint(args: Sequence[str]) -> dict[str, Any] | None:
    """The checkpoint given to a trainer subcommand by the last ``--ckpt_path``, or ``ckpt_path`` in a config."""
    if not args or args[0] not in TRAINER_COMMANDS:
        return None
    path: Any = None
    for i, arg in enumerate(args):
        name, equals, value = arg.partition("=")
        value = value if equals else (args[i + 1] if i + 1 < len(args) else "")
        if name == "--ckpt_path":
            path = value
        elif name in ("--config", "-c"):
            path = given_config(value).get("ckpt_path", path)
    if path == "last" and args[0] != "fit":
        raise CheckpointError(
            f"'last' is for fit alone, which goes on from it: give {args[0]} the path of a checkpoint"
        )
    if path in (None, "", "last", "null"):
        return None
    return read_checkpoint(str(path))


def with_checkpoint_config(args: Sequence[str], checkpoint: Mapping[str, Any] | None) -> list[str]:
    """Prepend the checkpoint's model and data to the arguments, as the first config.

    Raises: CheckpointError if it names a class that is neither part of lightning_flows nor named in the arguments.
    """
    if checkpoint is None:
        return list(args)
    config = copy.deepcopy(checkpoint_config(dict(checkpoint)))
    config["model"]["init_args"].pop("event_shape")  # taken from the data
    for section in list(config):
        recorded = config[section]["class_path"]
        given = _given_class(args, section)
        if recorded.startswith("lightning_flows."):
            continue
        if given is None:
            raise not_permitted(recorded, section)
        if given != recorded and not _is_same(given, recorded, args):
            del config[section]  # another class, with other arguments
        else:
            config[section]["class_path"] = given
    return [args[0], "--config", json.dumps(config), *args[1:]]


def without_run(args: Sequence[str]) -> list[str]:
    """Arguments of an evaluation, which ignores the logger of a config written for ``fit``."""
    configs = [
        i for i, arg in enumerate(args) if arg.startswith("--config=") or args[i - 1 : i] in (["--config"], ["-c"])
    ]
    own = any(arg.partition("=")[0].startswith("--trainer.logger") for arg in args)
    if not args or args[0] not in TRAINER_COMMANDS[1:] or not configs or own:
        return list(args)
    first, last = configs[0] - ("=" not in args[configs[0]][:9]), configs[-1] + 1
    logger = {"class_path": "lightning.pytorch.loggers.TensorBoardLogger", "init_args": {"save_dir": "runs"}}
    below = json.dumps({"trainer": {"logger": logger}})
    return [*args[:first], f"--config={below}", *args[first:last], "--trainer.logger=false", *args[last:]]


def compare(
    checkpoint: Mapping[str, Any], model: FlowModule, data: FlowDataModule, *, allow_split_change: bool = False
) -> None:
    """Report each difference from the settings saved in the checkpoint.

    Raises: CheckpointError if it does not fit the model, or if its data would be split differently.
    """
    record, now = checkpoint_config(dict(checkpoint)), {"model": describe(model), "data": describe(data)}
    shape = tuple(record["model"]["init_args"]["event_shape"])
    if shape != tuple(model.event_shape):
        raise CheckpointError(
            f"the checkpoint was trained on data of shape {shape}, and these have {tuple(model.event_shape)}: give "
            "data of its shape"
        )
    if "data" in record and not allow_split_change:
        _check_split(record["data"], now["data"], data, checkpoint["lightning_flows"].get("version"))
    check_state_dict(model, checkpoint)
    seed = checkpoint["lightning_flows"].get("seed_everything")
    if seed is not None:
        _tell("seed_everything", seed, model.seed)
    for section, saved in record.items():
        used = now[section]
        if saved["class_path"] != used["class_path"]:
            _tell(section, saved["class_path"], used["class_path"])
            if section == "data":
                continue  # arguments of another class
        names: list[str] = [*used["init_args"], *(key for key in saved["init_args"] if key not in used["init_args"])]
        for name in names:
            if name != "event_shape":
                old, new = (each["init_args"].get(name, "none") for each in (saved, used))
                _tell(f"{section}.{name}", old, new)


def _tell(name: str, old: Any, new: Any) -> None:
    if _listed(old) != _listed(new):
        rank_zero_info(f"{name}: {_short(old)} in the checkpoint, {_short(new)} given; {_short(new)} is used")


def _check_split(saved: Mapping[str, Any], used: Mapping[str, Any], data: FlowDataModule, saved_by: Any) -> None:
    if saved["class_path"] != used["class_path"]:
        return
    names: Sequence[str] = getattr(data, "split_arguments", tuple)()
    if names and _is_before(saved_by, SPLITS_SINCE) and _root(saved) == _root(used):
        raise CheckpointError(
            f"the checkpoint is of lightning_flows {saved_by}, which split images in another way, so that some it was "
            "trained on would test: train anew, or add --allow_split_change=true"
        )
    changed = [
        name
        for name in names
        if name in saved["init_args"] and _listed(saved["init_args"][name]) != _listed(used["init_args"].get(name))
    ]
    if changed:
        each = ", ".join(f"data.{n} is {used['init_args'].get(n)} for {saved['init_args'][n]}" for n in changed)
        raise CheckpointError(
            f"the data would be split in another way than in training, so that items of one split come into another "
            f"({each}): leave that out, or add --allow_split_change=true"
        )


def _is_before(version: Any, other: str) -> bool:
    try:
        return Version(str(version)) < Version(other)
    except InvalidVersion:  # not written by fit
        return False


def _root(section: Mapping[str, Any]) -> Any:
    root = section["init_args"].get("root")
    return Path(root).resolve() if isinstance(root, str) else root


def _listed(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_listed(each) for each in value]
    return {key: _listed(each) for key, each in value.items()} if isinstance(value, Mapping) else value


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 200 and text.isprintable() else repr(text)[:200]


def _given_class(args: Sequence[str], section: str) -> str | None:
    """The class of the model or the data from the command line, or else from a config that it names."""
    found: Any = None
    for i, arg in enumerate(args):
        name, equals, value = arg.partition("=")
        value = value if equals else (args[i + 1] if i + 1 < len(args) else "")
        if name in ("--config", "-c"):
            found = _class_of(given_config(value).get(section)) or found
        elif name in (f"--{section}", f"--{section}.class_path"):
            found = _class_of(given_config(value) or value) or found
    return found


def _class_of(section: Any) -> str | None:
    path = section.get("class_path") if isinstance(section, Mapping) else section
    return path if isinstance(path, str) else None


def _is_same(given: str, recorded: str, args: Sequence[str]) -> bool:
    with vetted_imports(args):
        kind = import_class(given) if "." in given else None
    return isinstance(kind, type) and public_path(kind) == recorded
