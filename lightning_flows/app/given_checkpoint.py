"""The checkpoint named on the command line: its model and data, and how they differ from those in use."""

import copy
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lightning.pytorch.utilities import rank_zero_info

from lightning_flows.app.arguments import CONFIG, options
from lightning_flows.app.commands import TRAINER_COMMANDS
from lightning_flows.app.commands.data_options import split_changes
from lightning_flows.app.configs import load_configs
from lightning_flows.checkpoints import describe, public_path, read_checkpoint
from lightning_flows.checkpoints.averaging import averaging_in
from lightning_flows.checkpoints.classes import import_class, is_trusted, not_permitted
from lightning_flows.checkpoints.forms import components, is_component
from lightning_flows.checkpoints.recorded_data import has_changed, place_of, warn_of_changes
from lightning_flows.checkpoints.training import check_state_dict
from lightning_flows.data import FlowDataModule
from lightning_flows.errors import CheckpointError
from lightning_flows.functional.nested import as_lists
from lightning_flows.modules import FlowModule
from lightning_flows.trust import vetted_imports

LINKED = ("optimizer", "lr_scheduler")
"""Arguments of the model that are top-level options of the command line."""
OF_DATA = ("event_shape", "num_levels")
"""Arguments of the model that are properties of the data."""


def given_checkpoint(args: Sequence[str]) -> dict[str, Any] | None:
    """Read the checkpoint that a trainer command takes model and data from; None without one.

    Its path is the last ``--ckpt_path``, or ``ckpt_path`` in a config; for ``fit`` also ``--weights_from``.
    Raises: CheckpointError if it cannot be read, or both are given.
    """
    if not args or args[0] not in TRAINER_COMMANDS:
        return None
    path, weights = (_last_value(args, name) for name in ("ckpt_path", "weights_from"))
    if path == "last" and args[0] != "fit":
        raise CheckpointError(f"'last' only works with fit: pass {args[0]} the path of a checkpoint")
    path = None if path in (None, "", "last", "null") else str(path)
    weights = str(weights) if weights and weights != "null" and args[0] == "fit" else None
    if path and weights:
        raise CheckpointError(
            f"{path} is resumed, so --weights_from {weights} has no effect: pass only one of them, or --ckpt_path last"
        )
    found = path or weights
    return None if found is None else read_checkpoint(found)


def with_checkpoint_config(args: Sequence[str], checkpoint: Mapping[str, Any] | None) -> list[str]:
    """Prepend the checkpoint's model and data to the arguments, as the first config.

    Raises: CheckpointError if it names, at any depth, a class that is neither from lightning_flows or torch.optim nor
    named in the arguments.
    """
    if checkpoint is None:
        return list(args)
    record = copy.deepcopy(checkpoint["lightning_flows"])
    config = {key: record[key] for key in ("model", "data") if key in record}
    for name in OF_DATA:
        config["model"]["init_args"].pop(name, None)
    given = dict(_given_components(args))
    for place, component in [found for section in config for found in components(config[section], section)]:
        recorded, name = component["class_path"], _option(place)
        if is_trusted(recorded) or place.rpartition(".")[2] not in _holder(config, place):
            continue
        other = given.get(name)
        if other is None:
            raise not_permitted(recorded, option=name)
        if other == recorded or _is_same(other, recorded, args):
            component["class_path"] = other  # type: ignore[index]
        else:
            _holder(config, place).pop(place.rpartition(".")[2])  # a different class has different arguments
    if "model" in config:
        linked = {
            name: config["model"]["init_args"].pop(name) for name in LINKED if name in config["model"]["init_args"]
        }
        if not _last_value(args, "weights_from"):  # a new run has the optimizer and schedule of its own configs
            config |= linked
    return [args[0], f"--config={json.dumps(config)}", *args[1:]]


def without_run(args: Sequence[str]) -> list[str]:
    """Return the arguments of an evaluation, which ignores the logger of a config for ``fit``; configs come first."""
    last = sum(arg.startswith("--config=") for arg in args) + 1
    own = any(arg.startswith("--trainer.logger") for arg in args)
    if not args or args[0] not in TRAINER_COMMANDS or args[0] == "fit" or last == 1 or own:
        return list(args)
    logger = {"class_path": "lightning.pytorch.loggers.TensorBoardLogger", "init_args": {"save_dir": "runs"}}
    below = json.dumps({"trainer": {"logger": logger}})  # so that a config may set its arguments alone
    return [args[0], f"--config={below}", *args[1:last], "--trainer.logger=false", *args[last:]]


def compare(
    checkpoint: Mapping[str, Any], model: FlowModule, data: FlowDataModule, *, allow_split_change: bool = False
) -> None:
    """Report each difference from the settings saved in the checkpoint, and warn if files of its data have changed.

    Raises: CheckpointError if it does not fit the model, or if its data would be split differently.
    """
    record, now = checkpoint["lightning_flows"], {"model": describe(model), "data": describe(data)}
    shape = tuple(record["model"]["init_args"]["event_shape"])
    if shape != tuple(model.event_shape):
        raise CheckpointError(
            f"the checkpoint was trained on data of shape {shape}, but these have {tuple(model.event_shape)}: use "
            "data of the same shape"
        )
    if "data" in record and not allow_split_change:
        _check_split(record, now["data"], data)
    warn_of_changes(record, data)
    check_state_dict(model, checkpoint)
    if averaged := averaging_in(checkpoint):
        rank_zero_info(f"the checkpoint has {averaged}")
    if record.get("seed_everything") is not None:
        _report("seed_everything", record["seed_everything"], model.seed)
    for section in ("model", "data"):
        if section in record:
            _compare(section, record[section], now[section])


def load_weights(checkpoint: Mapping[str, Any], model: FlowModule) -> None:
    """Load the weights of a checkpoint, which may be of other data. Raises: CheckpointError."""
    check_state_dict(model, checkpoint)
    model.load_state_dict(checkpoint["state_dict"])
    _compare("model", checkpoint["lightning_flows"]["model"], describe(model))


def _compare(name: str, old: Any, new: Any) -> None:
    if not (is_component(old) and is_component(new)):
        if as_lists(old) != as_lists(new) and name != "model.event_shape":
            _report(name, old, new)
        return
    if old["class_path"] != new["class_path"]:
        _report(name, old["class_path"], new["class_path"])
        if name != "model":
            return  # arguments of another class
    before, after = old["init_args"], new["init_args"]
    for key in dict.fromkeys([*after, *before]):
        _compare(_option(f"{name}.{key}"), before.get(key, "none"), after.get(key, "none"))


def _report(name: str, old: Any, new: Any) -> None:
    if old != new:
        rank_zero_info(f"{name}: {_short(new)} overrides {_short(old)} in the checkpoint")


def _check_split(record: Mapping[str, Any], used: Mapping[str, Any], data: FlowDataModule) -> None:
    saved = record["data"]
    if data.splits_by_position and has_changed(record, data):
        raise CheckpointError(
            f"{place_of(data)} is not the file that the checkpoint was trained on, so that items of one split may end "
            "up in another: restore that file, pass its path, or add --allow_split_change=true"
        )
    is_same = saved["class_path"] == used["class_path"]
    names: Sequence[str] = getattr(data, "split_arguments", tuple)() if is_same else ()
    if changes := split_changes(names, saved["init_args"], used["init_args"]):
        raise CheckpointError(
            "the data would be split differently than in training, so that items of one split end up in another "
            f"({changes}): omit that, or add --allow_split_change=true"
        )


def _short(value: Any) -> str:
    text = str(value["class_path"] if is_component(value) else value)
    return text if len(text) <= 200 and text.isprintable() else repr(text)[:200]


def _last_value(args: Sequence[str], name: str) -> Any:
    """Value of an option from the command line or from a config, whichever comes last; None without one."""
    found = None
    for option, value, *_ in options(args):
        if option == f"--{name}":
            found = value
        elif option in CONFIG:
            found = load_configs(value).get(name, found)
    return found


def _given_components(args: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield options and the classes that the arguments set for them, such as ``("model.flow", "my_flows.MyFlow")``."""
    for name, value, *_ in options(args):
        option = _option(name.removeprefix("--"))
        if name in CONFIG:
            given = load_configs(value)
        elif value.lstrip().startswith("{"):
            given = {option: load_configs(value)}
        elif option.partition(".")[0] in ("model", "data", *LINKED):
            given = {option: value}
        else:
            continue
        for section, component in given.items():
            if isinstance(component, str):
                yield section, component
            for place, each in _places(component, section):
                yield _option(place), each


def _places(value: Any, name: str) -> Iterator[tuple[str, str]]:
    """Yield class paths, and strings that may be class paths, in a plain value."""
    if isinstance(value, Mapping):
        if isinstance(path := value.get("class_path"), str):
            yield name, path
        for key, each in value.items():
            yield from _places(each, f"{name}.{key}")
    elif isinstance(value, str):
        yield name, value


def _option(place: str) -> str:
    """Return an option's short name.

    >>> _option("model.init_args.flow.class_path"), _option("model.optimizer")
    ('model.flow', 'optimizer')
    """
    name = re.sub(r"\.(init_args|class_path)(?=\.|$)", "", place)
    return name.removeprefix("model.") if name.startswith(tuple(f"model.{each}" for each in LINKED)) else name


def _holder(config: dict[str, Any], place: str) -> dict[str, Any]:
    """Return the dictionary around a component of a config, by the names of :func:`components`; empty if dropped."""
    holder: Any = config
    for key in place.split(".")[:-1]:
        holder = holder.get(key, {})
        holder = holder["init_args"] if is_component(holder) else holder
    return holder


def _is_same(given: str, recorded: str, args: Sequence[str]) -> bool:
    with vetted_imports(args):
        kind = import_class(given) if "." in given else None
    return isinstance(kind, type) and public_path(kind) == recorded
