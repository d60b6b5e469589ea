from pathlib import Path

import pytest

from lightning_flows.callbacks import BoundMonitor
from lightning_flows.functional import parts
from tests.callbacks.test_monitors import KINDS, curve, fit


def test_only_steps_that_are_logged(tmp_path: Path) -> None:
    fit(tmp_path, "sylvester", [BoundMonitor()], log_every_n_steps=2)
    sums = [sum(pair) for pair in zip(curve(tmp_path, "bound/latents"), curve(tmp_path, "bound/log_det"), strict=True)]
    assert len(sums) == 2
    assert sums == pytest.approx(curve(tmp_path, "train/bpd"), rel=1e-5)  # of the same steps


def test_uniform_noise_costs_nothing(tmp_path: Path) -> None:
    fit(tmp_path, "sylvester", [BoundMonitor()])
    assert set(curve(tmp_path, "bound/dequantization")) == {0.0}


def test_no_notes_are_taken_after_a_step_that_fails(tmp_path: Path, monkeypatch) -> None:
    module = KINDS["sylvester"][0]()
    monkeypatch.setitem(KINDS, "failing", (lambda: module, KINDS["sylvester"][1]))
    monkeypatch.setattr(module, "training_step", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        fit(tmp_path, "failing", [BoundMonitor()])
    assert parts._parts.get() is None
