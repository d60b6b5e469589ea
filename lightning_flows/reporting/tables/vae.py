"""Posteriors of variational autoencoders, compared on one dataset."""

from collections.abc import Sequence
from typing import Any

from lightning_flows.errors import DataError
from lightning_flows.reporting.tables.compare import check_comparable, check_items, measured_on, metric, newest_by_seed
from lightning_flows.reporting.tables.runs import Run
from lightning_flows.reporting.tables.table import NONE, Table, mean_and_deviation, median
from lightning_flows.reporting.tables.timing import Measure, clock, step_seconds

NAMES = {
    "DiagonalPosterior": "diagonal",
    "PlanarPosterior": "planar",
    "IAFPosterior": "IAF",
    "SylvesterPosterior orthogonal": "Sylvester, orthogonal",
    "SylvesterPosterior householder": "Sylvester, Householder",
    "SylvesterPosterior triangular": "Sylvester, triangular",
    "GeneralizedSylvesterPosterior": "generalized Sylvester",
    "GeneralizedSylvesterPosterior amortized": "generalized Sylvester, amortized basis",
}
"""Rows, in order; other posteriors follow."""
PUBLISHED = {
    "FreyFacesDataModule": "diagonal 4.53 ± 0.02, planar 4.40 ± 0.06, IAF 4.47 ± 0.05, best Sylvester 4.45 ± 0.04 bits",
    "StaticMNISTDataModule": "diagonal 86.55, planar 86.06, IAF 84.20, best Sylvester 83.32 nats",
    "OmniglotDataModule": "diagonal 104.28, planar 102.65, IAF 102.41, best Sylvester 99.00 nats",
    "CaltechSilhouettesDataModule": "diagonal 110.80, planar 109.66, IAF 111.58, best Sylvester 104.62 nats",
}
"""−ELBO in Tables 1 and 2 of van den Berg et al. (2018), Sylvester Normalizing Flows for Variational Inference."""
UNITS = {"bpd": ("bits per dimension", "test/nll_bpd", 3), "nll": ("nats", "test/nll_nats", 2)}
"""Of the negative bound: its name, the metric of the likelihood, and digits."""

Key = tuple[int, str, tuple[tuple[str, Any], ...]]


def table_vae(runs: Sequence[Run]) -> Table:
    """Posteriors of VAEs: negative bound, likelihood and KL term, parameters and time.

    Results are mean ± standard deviation over seeds, in bits per dimension, or in nats per image for binary images.
    Seconds per epoch are those of training steps, without evaluation, see :func:`step_seconds`: their median, of runs
    that were timed in the same way, see :func:`alike`. A posterior has a row for each of its settings.
    Raises: DataError if no run belongs to it, or runs are not comparable.
    """
    groups = _groups(runs)
    runs = [run for group in groups.values() for run in group]
    unit, nll, digits = UNITS["bpd" if "test/bpd" in runs[0].metrics else "nll"]
    header = [
        "posterior", "runs", f"−ELBO ({unit})", "NLL", "KL", "parameters", "of the posterior", "seconds per epoch",
    ]  # fmt: skip
    rows, seconds = [], Measure(_epoch_seconds, clock).of(groups)
    for key, group in groups.items():
        rows.append(
            [
                _name(key, list(groups)),
                str(len(group)),
                *(mean_and_deviation(metric(group, name), digits=digits) for name in ("test/loss", nll, "test/kl")),
                str(group[0].test["num_parameters"]),
                str(group[0].test.get("num_parameters_of", {}).get("posterior", NONE)),
                median(seconds[key], digits=1),
            ]
        )
    data = runs[0].test["data"]["class_path"].rpartition(".")[2]
    published = f"Published −ELBO (van den Berg et al., 2018): {PUBLISHED[data]}." if data in PUBLISHED else ""
    return Table(header, rows, measured_on(runs, published).rstrip())


def rows_vae(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Runs of the rows by their names, in order. For errors see :func:`table_vae`."""
    groups = _groups(runs)
    return {_name(key, list(groups)): group for key, group in groups.items()}


def _groups(runs: Sequence[Run]) -> dict[Key, list[Run]]:
    """Comparable runs of each row, one per seed, in the order of the table."""
    runs = [run for run in runs if run.posterior and "test/kl" in run.metrics]
    if not runs:
        raise DataError("no run belongs to the table: none has a posterior and a test/kl")
    check_comparable(runs, free=lambda run: {"eval_chunk_size"}, components={"posterior"})
    groups: dict[Key, list[Run]] = {}
    for run in runs:
        groups.setdefault(_key(run), []).append(run)
    order = sorted(groups, key=lambda each: (*each[:2], groups[each][0].test["num_parameters"]))
    newest = {key: newest_by_seed(groups[key]) for key in order}
    for group in newest.values():
        check_items(group)
    return newest


def _key(run: Run) -> Key:
    """Position and class of a run's row, and the settings of its posterior."""
    settings, kind = dict(run.posterior_arguments), run.posterior
    if kind == "SylvesterPosterior":
        kind = f"{kind} {settings.pop('basis', 'orthogonal')}"
    elif settings.pop("amortize_basis", False) is True:
        kind = f"{kind} amortized"
    place = list(NAMES).index(kind) if kind in NAMES else len(NAMES)
    return place, kind, tuple(sorted((name, repr(value)) for name, value in settings.items()))


def _name(key: Key, keys: Sequence[Key]) -> str:
    """Name of a row, with the settings in which it differs from others of its kind."""
    name = NAMES.get(key[1], key[1].removesuffix("Posterior"))
    others = [set(each[2]) for each in keys if each[:2] == key[:2]]
    own = [f"{setting}={value}" for setting, value in key[2] if not all((setting, value) in other for other in others)]
    return ", ".join([name, *own])


def _epoch_seconds(run: Run) -> float | None:
    """Seconds per step times the steps of an epoch, from the last validation; None if either was not logged."""
    epochs, validation = dict(run.curve("epoch")), run.curve("val/loss")
    step = next((step for step, _ in reversed(validation) if step in epochs), None)
    seconds = step_seconds(run)
    return seconds * (step + 1) / (epochs[step] + 1) if seconds is not None and step is not None else None
