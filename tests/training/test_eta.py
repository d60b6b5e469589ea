from types import SimpleNamespace

import pytest
from lightning.pytorch.callbacks import Timer

from lightning_flows.progress import Remaining
from lightning_flows.training.eta import fit_share


def test_time_left_is_extrapolated_from_the_pace_since_the_first_call():
    clock = Remaining(now=lambda: 0.0)
    assert clock.text(0.5) == ""  # a resumed run starts here
    clock.now = lambda: 100.0
    assert clock.text(0.5) == ""  # no progress yet
    assert clock.text(0.6) == "0:06:40 left"
    assert clock.text(1.0) == "0:00:00 left"


def trainer(**options):
    standard = {"max_epochs": 4, "max_steps": -1, "current_epoch": 1, "global_step": 15, "num_training_batches": 10}
    return SimpleNamespace(**standard | {"callbacks": []} | options)


@pytest.mark.parametrize(
    ("options", "share"),
    [
        ({}, 1.5 / 4),
        ({"max_steps": 20}, 0.75),  # the first limit to be reached counts
        ({"max_steps": 1000}, 1.5 / 4),
        ({"max_epochs": -1, "max_steps": 60}, 0.25),
        ({"max_epochs": None, "max_steps": 10}, 1.0),
        ({"max_epochs": -1}, None),
        ({"num_training_batches": float("inf")}, 0.25),
    ],
)
def test_share_of_training_that_is_done(options, share):
    assert fit_share(trainer(**options), 5) == share


def test_a_limit_on_time_counts(monkeypatch):
    timer = Timer("00:00:01:40")
    monkeypatch.setattr(timer, "time_elapsed", lambda stage=None: 80.0)
    assert fit_share(trainer(callbacks=[timer]), 5) == pytest.approx(0.8)
