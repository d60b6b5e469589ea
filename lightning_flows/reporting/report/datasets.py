"""Which runs of a report have the same data, and short names of the data."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning_flows.data_identity import NUMBERS, OF_TRAINING, identity
from lightning_flows.reporting.tables import Run

FREE = OF_TRAINING | NUMBERS
ITEMS = "test items"


def datasets(runs: Sequence[Run], *, tested: bool = False) -> dict[str, list[Run]]:
    """Runs by a name of their data, sorted by it.

    Two runs have the same data if the class and arguments of their data agree, ignoring arguments that do not change
    the items of an evaluation and the number of generated items. If ``tested``, they must also have been tested on the
    same items. Datasets that share a :func:`data_name` are told apart by the arguments in which they differ.
    """
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(repr(sorted(_traits(run, tested=tested).items())), []).append(run)
    named: dict[str, list[list[Run]]] = {}
    for group in groups.values():
        named.setdefault(data_name(group[0].config), []).append(group)
    found: dict[str, list[Run]] = {}
    for name, alike in named.items():
        traits = [_traits(group[0], tested=tested) for group in alike]
        every = dict.fromkeys(key for each in traits for key in each)
        keys = [key for key in every if len({repr(each.get(key)) for each in traits}) > 1]
        for group, each in zip(alike, traits, strict=True):
            differences = (f"{key}={each[key]}" for key in keys if key in each)
            found.setdefault(", ".join([name, *differences]), []).extend(group)
    return dict(sorted(found.items()))


def data_name(config: dict[str, Any]) -> str:
    """Short name of the data in a config: class, file, mixture or toy, and what changes the images."""
    if not config:
        return "unknown data"
    arguments = config["data"]["init_args"]
    which = next((arguments[key] for key in ("mixture", "name", "root", "path") if arguments.get(key)), "")
    name = f"{config['data']['class_path'].rpartition('.')[2].removesuffix('DataModule')} {Path(str(which)).name}"
    factor, binary = arguments.get("downsample") or 1, arguments.get("binarization") or "none"
    changes = [f"downsampled by {factor}"] * (factor != 1) + [f"{binary} binarization"] * (binary != "none")
    return ", ".join([name.strip(), *changes])


def _traits(run: Run, *, tested: bool) -> dict[str, Any]:
    """Arguments of the data of a run, and its test items, as far as they are known."""
    if not run.config:
        return {}
    kind, arguments = identity(run.config["data"], FREE)
    items = {ITEMS: run.test["items"]["digest"][:8]} if tested and "items" in run.test else {}
    return {"class": kind, **{key: each for key, each in arguments.items() if each is not None}, **items}
