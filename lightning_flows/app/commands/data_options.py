"""Options ``--data.NAME`` of a command without a trainer: they override the arguments of the checkpoint's data."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from lightning_flows.app.arguments import options
from lightning_flows.app.yaml_text import load_yaml
from lightning_flows.errors import CheckpointError, ConfigError, UsageError, shortened
from lightning_flows.functional.nested import as_lists

PREFIX = "--data."


def taken_from(args: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """Return the arguments without options of the data, and these by name.

    >>> taken_from(["nearest", "--data.seed=5", "--num", "3", "--data.skip_broken", "--data.size", "[8,8]"])
    (['nearest', '--num', '3'], {'seed': 5, 'skip_broken': True, 'size': [8, 8]})
    """
    rest, found = list(args), dict[str, Any]()
    for option in reversed([each for each in options(args) if each.name.startswith(PREFIX)]):
        name = option.name.removeprefix(PREFIX).removeprefix("init_args.")
        has_value = option.value or option.stop - option.start > 1 or "=" in args[option.start]
        found.setdefault(name, load_yaml(option.value, option.name) if has_value else True)
        del rest[option.start : option.stop]
    return rest, dict(reversed(found.items()))


def built(kind: type, arguments: Mapping[str, Any], given: Mapping[str, Any] | None = None, find: Any = None) -> Any:
    """Build data from recorded arguments, overridden by those of the command line.

    Args:
        kind: class of the data.
        arguments: recorded arguments.
        given: arguments of the command line.
        find: see :func:`construct`.

    Raises: ConfigError for options that the class does not have; UsageError for values that do not fit, and if the data
    would be split differently.
    """
    from lightning_flows.checkpoints import construct
    from lightning_flows.checkpoints.plain import named_arguments

    given = given or {}
    names, is_open = named_arguments(kind)
    if unknown := [name for name in given if name not in names and not is_open]:
        advice = f"`fit --data.help {kind.__name__}` lists them"
        raise ConfigError(f"{PREFIX}{unknown[0]} is not an option of {kind.__name__}: {advice}")
    try:
        data = construct(kind, {**arguments, **given}, **({"find": find} if find else {}))
    except CheckpointError as error:
        if not given or error.__cause__ is None:
            raise
        reason = shortened(str(error.__cause__))
        bad = [f"{PREFIX}{name} {value}" for name, value in given.items() if f'"it.{name}"' in reason]
        reason = re.sub(r"^Parser key \S+ Expected a <class '(\w+)'>.*", r"expected \1", reason)
        each = ", ".join(bad) or f"an option that starts with {PREFIX}"
        raise UsageError(f"{each} does not fit {kind.__name__} ({reason}): choose another value") from error
    changes = split_changes([name for name in data.split_arguments() if name in given], arguments, data.hparams)
    if changes:
        raise UsageError(f"the data would be split differently than in training ({changes}): omit that")
    return data


def split_changes(names: Sequence[str], before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Name the arguments that have changed, of those that determine the split; empty if none has.

    >>> split_changes(["seed", "size"], {"seed": 0, "size": (8, 8)}, {"seed": 5, "size": [8, 8]})
    '--data.seed is 5 instead of 0'
    """
    changed = [name for name in names if name in before and as_lists(before[name]) != as_lists(after.get(name))]
    return ", ".join(f"{PREFIX}{name} is {after.get(name)} instead of {before[name]}" for name in changed)
