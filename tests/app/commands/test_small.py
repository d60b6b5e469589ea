"""The search for learning rates, and experiments on small images."""

import math
from collections.abc import Mapping
from pathlib import Path

import pytest

from lightning_flows.app.commands.experiments import EXPERIMENTS, Experiment
from lightning_flows.app.commands.small import named, resized, searched
from lightning_flows.errors import DataError, UsageError
from lightning_flows.reporting.tables.runs import Run

TABLE2 = resized({name: each for name, each in EXPERIMENTS[2].items() if not name.startswith("residual")}, "8x8")


class Pretended:
    """Runs that reach losses, infinite where they diverge; ``log`` has the calls of ``run``."""

    log: list[tuple[list[str], list[int], bool]]
    jobs = 2

    def __init__(self, experiments: Mapping[str, Experiment], losses: Mapping[str, float], log: list) -> None:
        self.experiments, self.losses, self.log = experiments, losses, log

    def missing(self, seeds, *, test=True):
        return [(name, seed) for name in self.experiments for seed in seeds]

    def seconds(self, seeds, *, test=True, trained=()):
        fits = [0.0 if run in trained else 3600.0 for run in self.missing(seeds)]
        return [fit + (360.0 if test else 0.0) for fit in fits]

    def run(self, seeds, *, test=True, announced=False):
        self.log.append((list(self.experiments), list(seeds), test, announced))

    def diverged(self, name, seed):
        return self.losses.get(name) == math.inf

    def finished(self, name, seed):
        return [Run(Path(name), Path())] if name in self.losses else []

    def folder(self, name, seed):
        return Path(name)


@pytest.fixture
def search(monkeypatch: pytest.MonkeyPatch):
    """Search with losses by name; returns the names of the experiments that follow, and the calls of ``run``."""

    def run(losses: Mapping[str, float], rates=(1e-3, 2e-3), seeds=(7, 8)):
        log: list = []
        monkeypatch.setattr("lightning_flows.app.commands.small.lowest_validation", lambda run: losses[run.folder.name])
        return list(searched(TABLE2, "8x8", rates, seeds, lambda found: Pretended(found, losses, log))), log

    return run


LOSSES = {
    "csf_uniform_8x8_lr0.001": 3.2, "csf_uniform_8x8_lr0.002": 3.1,
    "coupling_uniform_8x8_lr0.001": 3.3, "coupling_uniform_8x8_lr0.002": math.inf,
}  # fmt: skip


def test_each_family_takes_its_best_rate_among_those_that_converge(search, capsys) -> None:
    chosen, log = search(LOSSES)
    assert chosen == [
        "csf_uniform_8x8_lr0.002", "coupling_uniform_8x8_lr0.001", "csf_variational_8x8_lr0.002",
        "coupling_variational_8x8_lr0.001",
    ]  # fmt: skip
    assert log == [(list(LOSSES), [7], False, True)]
    err = capsys.readouterr().err
    assert "coupling_uniform by learning rate: 0.001 3.300, 0.002 diverged; chosen: 0.001" in err


def test_the_time_of_the_search_and_of_all_that_follows_is_announced(search, capsys) -> None:
    """4 runs of the search, then 8, of which 2 are of the search already: 10 trainings and 8 tests, 2 at a time."""
    search(LOSSES)
    assert "10 runs, about 5:24 h on this machine, including the search for learning rates" in capsys.readouterr().err


def test_a_family_that_diverges_at_all_rates_is_an_error(search) -> None:
    losses = LOSSES | {"coupling_uniform_8x8_lr0.001": math.inf}
    with pytest.raises(UsageError, match=r"coupling_uniform diverges at all learning rates, 0.001, 0.002: pass lower"):
        search(losses)


@pytest.mark.parametrize(
    "rates", [[], [0.0], [-1e-3], [math.nan], [math.inf], [1e-3, 2e-3, 0.002], [1e-3, 1.0000001e-3]]
)
def test_rates_must_be_positive_and_have_different_names(rates: list[float], search) -> None:
    with pytest.raises(UsageError, match="pass different, positive learning rates"):
        search(LOSSES, rates)


def test_a_finished_run_without_a_curve_has_not_diverged(search, monkeypatch: pytest.MonkeyPatch) -> None:
    diverged = Pretended.diverged
    monkeypatch.setattr(
        Pretended, "diverged", lambda self, name, seed: diverged(self, name, seed) and "csf" not in name
    )
    losses = LOSSES | {"csf_uniform_8x8_lr0.001": math.inf}
    with pytest.raises(DataError, match=r"lr0.001 has no complete curve of val/loss: restore curves.jsonl"):
        search(losses)


def test_a_family_outside_of_the_selection_is_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variational rows alone take the rate of the uniform ones."""
    log: list = []
    losses = {"csf_uniform_8x8_lr0.001": 3.0, "csf_uniform_8x8_lr0.002": 3.1}
    monkeypatch.setattr("lightning_flows.app.commands.small.lowest_validation", lambda run: losses[run.folder.name])
    only = {"csf_variational": TABLE2["csf_variational"]}
    found = searched(only, "8x8", [1e-3, 2e-3], [0], lambda each: Pretended(each, losses, log))
    assert list(found) == ["csf_variational_8x8_lr0.001"]
    assert found["csf_variational_8x8_lr0.001"].layers[-1] == "--optimizer.lr=0.001"
    assert log[0][0] == list(losses)


def test_a_single_rate_is_not_searched(search) -> None:
    chosen, log = search({}, rates=[2e-3])
    assert chosen == [f"{name}_8x8_lr0.002" for name in TABLE2]
    assert not log


def test_runs_of_each_size_have_their_own_names() -> None:
    assert next(iter(named(TABLE2, "16x16"))) == "csf_uniform_16x16"
    with pytest.raises(UsageError, match="--size 9x9 is not one of 8x8, 16x16"):
        resized(EXPERIMENTS[2], "9x9")
    with pytest.raises(UsageError, match="which tables 1 to 3 have"):
        resized(EXPERIMENTS[4], "8x8")
