"""Expected time of runs; every measurement takes one second here."""

from collections.abc import Callable

import pytest

from lightning_flows.app.bench import Bench
from lightning_flows.app.commands.estimate import ITEMS, START, Estimates
from lightning_flows.errors import FlowsError


@pytest.fixture(autouse=True)
def measured(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the batches that were measured."""
    sizes: list[int] = []

    def seconds(self: Bench, function: Callable[[], object]) -> float:
        function()
        sizes.append(self.size)
        return 1.0

    monkeypatch.setattr(Bench, "seconds", seconds)
    return sizes


def test_steps_validations_and_tests_are_counted(tiny: list[str], measured: list[int]) -> None:
    """3 steps per epoch, 7 in all: two validations of 52 items, and a test of 104."""
    options = [
        *tiny,
        "--trainer.limit_val_batches=1.0",
        "--trainer.max_steps=7",
        "--trainer.max_epochs=9",
        "--trainer.check_val_every_n_epoch=1",
    ]
    cost = Estimates()(options, [])
    assert cost is not None
    assert cost.fit == pytest.approx(START + 7 + 2 * 52 / ITEMS)
    assert cost.test == pytest.approx(START + 104 / ITEMS)
    assert measured == [8] * 4 + [ITEMS] * 2


def test_steps_per_epoch_are_those_of_the_data(tiny: list[str]) -> None:
    """Where data are generated, the length of a split says nothing about its batches."""
    validation = ["--trainer.limit_val_batches=0", "--trainer.limit_train_batches=1.0"]
    cost = Estimates()([*tiny, *validation, "--data.steps_per_epoch=50", "--trainer.max_epochs=2"], [])
    assert cost is not None
    assert cost.fit == pytest.approx(START + 100)
    graphs = ["--config=model/gnf.yaml", "--config=data/mog.yaml", "--trainer.max_epochs=2", *validation]
    cost = Estimates()(graphs, [])
    assert cost is not None
    assert cost.fit == pytest.approx(START + 1000)


def test_only_runs_that_differ_in_the_learning_rate_share_a_measurement(tiny: list[str], measured: list[int]) -> None:
    costs = Estimates()
    first = costs([*tiny, "--optimizer.lr=0.1"], [])
    count = len(measured)
    assert costs([*tiny, "--optimizer.lr=0.2"], []) is first
    assert len(measured) == count
    costs([*tiny, "--optimizer.lr=0.2"], ["--model.num_importance_samples=2"])
    assert len(measured) == 2 * count


def test_errors_in_a_config_are_raised_before_the_first_run(tiny: list[str]) -> None:
    with pytest.raises(FlowsError, match=r"nowhere.tar does not exist"):
        Estimates()([*tiny, "--data=ImageFolderDataModule", "--data.root=/nowhere.tar"], [])
    with pytest.raises(SystemExit):
        Estimates()([*tiny, "--model.widht=3"], [])


def test_a_failed_measurement_gives_no_estimate(tiny: list[str], monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    def fail(self: Bench, size: int) -> None:
        raise RuntimeError("not for random data")

    monkeypatch.setattr(Bench, "fill", fail)
    assert Estimates()(tiny, []) is None
    assert "cannot estimate the time: not for random data" in capsys.readouterr().err
