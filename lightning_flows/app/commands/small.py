"""Tables 1 to 3 on small images, with a search for the learning rate of each family."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from lightning_flows.app.commands.estimate import summary
from lightning_flows.app.commands.experiments import EXPERIMENTS, OWN, Experiment
from lightning_flows.app.commands.processes import say
from lightning_flows.app.commands.sizes import SIZES
from lightning_flows.errors import DataError, UsageError
from lightning_flows.reporting.tables.curve_file import CURVES
from lightning_flows.reporting.tables.rates import lowest_validation

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
    seeds: Sequence[int],
    trainings: "Callable[[Mapping[str, Experiment]], Trainings]",
) -> dict[str, Experiment]:
    """Train one run of each family at each rate; return all experiments, at the rate with the lowest validation loss.

    An experiment without a family is a family of its own. Where a run diverges, its loss counts as infinite. The runs
    of the search are not tested; the best of them is the one that the table takes for its seed. A finished search is
    not repeated. A single rate is taken without a search.

    Args:
        experiments: experiments on small images.
        size: a key of SIZES.
        rates: learning rates.
        seeds: training seeds of the experiments, the first of which is that of the search.
        trainings: function of experiments by name that trains and tests them, and skips finished runs.

    Raises: UsageError if a family diverges at all rates; DataError if the curve of a finished run is missing.
    """
    if not rates or not all(0 < rate < math.inf for rate in rates) or len({f"{rate:g}" for rate in rates}) < len(rates):
        raise UsageError(f"--lr is {list(rates)}: pass different, positive learning rates, such as '[1e-3,2e-3]'")
    families = dict.fromkeys(each.family or name for name, each in experiments.items())
    if len(rates) == 1:
        return _rated(experiments, size, dict.fromkeys(families, rates[0]))
    known = EXPERIMENTS[1] | EXPERIMENTS[2] | EXPERIMENTS[3] | OWN
    every = resized(known, size) | experiments
    searches = {family: at_rates(family, every[family], size, rates) for family in families}
    runs, seed = trainings({name: each for search in searches.values() for name, each in search.items()}), seeds[0]
    follow = trainings(_rated(experiments, size, dict.fromkeys(families, rates[0])))
    announced = _announce(runs, follow, seeds)
    runs.run([seed], test=False, announced=announced)
    chosen = {
        family: _best(family, {rate: _validation(runs, name, seed) for rate, name in zip(rates, search, strict=True)})
        for family, search in searches.items()
    }
    return _rated(experiments, size, chosen)


def _rated(experiments: Mapping[str, Experiment], size: str, rates: Mapping[str, float]) -> dict[str, Experiment]:
    """Experiments at the rates of their families."""
    rated: dict[str, Experiment] = {}
    for name, each in experiments.items():
        rated |= at_rates(name, each, size, [rates[each.family or name]])
    return rated


def _announce(search: "Trainings", follow: "Trainings", seeds: Sequence[int]) -> bool:
    """Print the expected time of the missing runs of a search and of those that follow; return whether it is known.

    At the chosen rate, the search has already trained the run of a family's first seed: only its test follows.
    """
    searched, trained = search.missing(seeds[:1], test=False), [(name, seeds[0]) for name in search.experiments]
    first, then = search.seconds(seeds[:1], test=False), follow.seconds(seeds, trained=trained)
    if not searched or first is None or then is None:
        return False
    num = len({*searched, *follow.missing(seeds)} - {*trained}) + len(searched)
    say(f"{summary(num, (sum(first) + sum(then)) / search.jobs)}, including the search for learning rates")
    return True


def _best(family: str, losses: Mapping[float, float]) -> float:
    """The rate with the lowest loss, printed with the others."""
    best = min(losses, key=lambda rate: losses[rate])
    if not losses[best] < math.inf:
        raise UsageError(f"{family} diverges at all learning rates, {', '.join(map(str, losses))}: pass lower --lr")
    words = [f"{rate:g} {'diverged' if loss == math.inf else f'{loss:.3f}'}" for rate, loss in losses.items()]
    say(f"validation of {family} by learning rate: {', '.join(words)}; chosen: {best:g}")
    return best


def _validation(runs: "Trainings", name: str, seed: int) -> float:
    """Lowest validation loss of the newest finished run; infinite if it diverged.

    Raises: DataError without such a run, or if it has no curve.
    """
    if runs.diverged(name, seed):
        return math.inf
    finished = runs.finished(name, seed)
    if not finished:
        raise DataError(f"there is no finished run below {runs.folder(name, seed)}: rerun the command")
    loss = lowest_validation(finished[-1])
    if loss == math.inf:
        raise DataError(f"{finished[-1].folder} has no complete curve of val/loss: restore {CURVES}, or remove the run")
    return loss
