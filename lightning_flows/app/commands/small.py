"""Tables 1 to 3 on small images, with a search of each family's learning rate."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_flows.app.commands.experiments import EXPERIMENTS, Experiment
from lightning_flows.app.commands.sizes import SIZES
from lightning_flows.errors import DataError, UsageError
from lightning_flows.reporting.tables.rates import lowest_validation
from lightning_flows.reporting.tables.runs import read_run

if TYPE_CHECKING:
    from lightning_flows.app.commands.sweep import Trainings


def resized(experiments: Mapping[str, Experiment], size: str) -> dict[str, Experiment]:
    """Experiments on images of a size, under their own names. Raises: UsageError if there are none."""
    if size not in SIZES or not all(each.small for each in experiments.values()):
        raise UsageError(f"--size {size} is not one of {', '.join(SIZES)}, which tables 1 to 3 have")
    return {
        name: each._replace(layers=[*each.layers, *each.small[size].layers], reduced=(), test=each.small[size].test)
        for name, each in experiments.items()
    }


def named(experiments: Mapping[str, Experiment], size: str) -> dict[str, Experiment]:
    """Experiments under names of folders, which end with the size."""
    return {f"{name}_{size}": each for name, each in experiments.items()}


def at_rates(name: str, experiment: Experiment, size: str, rates: Iterable[float]) -> dict[str, Experiment]:
    """An experiment with each of several learning rates, under names of folders."""
    return {
        f"{name}_{size}_lr{rate:g}": experiment._replace(layers=[*experiment.layers, f"--optimizer.lr={rate!r}"])
        for rate in rates
    }


def searched(
    experiments: Mapping[str, Experiment],
    size: str,
    rates: Sequence[float],
    seed: int,
    trainings: "Callable[[Mapping[str, Experiment]], Trainings]",
) -> dict[str, Experiment]:
    """Train one run of each family at each rate; return all experiments, at the rate with the lowest validation loss.

    An experiment without a family is its own. A search that is finished costs nothing again, and the best of its runs
    is the one that the table takes for its seed.

    Args:
        experiments: experiments on small images.
        size: a key of SIZES.
        rates: learning rates.
        seed: seed of the search.
        trainings: function of experiments by name that trains and tests them, and skips finished runs.
    """
    if not rates or not all(0 < rate < math.inf for rate in rates):
        raise UsageError(f"--lr is {list(rates)}: pass positive learning rates, such as '[1e-3,2e-3]'")
    every = (
        resized({name: each for table in (1, 2, 3) for name, each in EXPERIMENTS[table].items()}, size) | experiments
    )
    families = dict.fromkeys(each.family or name for name, each in experiments.items())
    searches = {family: at_rates(family, every[family], size, rates) for family in families}
    runs, chosen = trainings({name: each for search in searches.values() for name, each in search.items()}), {}
    runs.run([seed])
    for family, search in searches.items():
        found = {name: _validation(runs.folder(name, seed)) for name in search}
        chosen[family] = rates[list(found).index(min(found, key=lambda name: found[name]))]
    rated: dict[str, Experiment] = {}
    for name, each in experiments.items():
        rated |= at_rates(name, each, size, [chosen[each.family or name]])
    return rated


def _validation(folder: Path) -> float:
    """Lowest validation loss of the newest run below a folder."""
    runs = [read_run(path.parent) for path in sorted(folder.glob("version_*/tests.jsonl"))]
    if not runs:
        raise DataError(f"there is no tested run below {folder}: rerun the command")
    return lowest_validation(runs[-1])
