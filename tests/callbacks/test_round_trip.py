from pathlib import Path

import pytest
import torch

from lightning_flows.callbacks import RoundTrip
from lightning_flows.errors import ConvergenceError
from tests.callbacks.test_monitors import KINDS, curve, events, fit


def test_error_is_that_of_the_first_items(tmp_path: Path) -> None:
    module = fit(tmp_path, "sylvester", [RoundTrip(num_items=3)], max_epochs=1).lightning_module.eval()
    x = KINDS["sylvester"][1]().images[:3] + 0.5
    with torch.no_grad():
        flow = module.model.flow
        error = (flow.decode(flow.encode(x)) - x).abs().max().item()
    assert curve(tmp_path, "inverse/round_trip_error") == pytest.approx([error], abs=1e-5)
    assert error < 0.05
    (mean,), (most,) = curve(tmp_path, "inverse/iterations"), curve(tmp_path, "inverse/most_iterations")
    assert 1 <= mean <= most < 200


def test_a_wrong_inverse_is_seen(tmp_path: Path, monkeypatch) -> None:
    module = KINDS["sylvester"][0]()
    decode = module.model.flow.decode_reported
    monkeypatch.setitem(KINDS, "wrong", (lambda: module, KINDS["sylvester"][1]))
    monkeypatch.setattr(module.model.flow, "decode_reported", lambda z: (decode(z)[0] + 2, []))
    fit(tmp_path, "wrong", [RoundTrip()], max_epochs=1)
    assert curve(tmp_path, "inverse/round_trip_error") == pytest.approx([2], abs=0.1)


def test_an_inverse_that_does_not_converge_does_not_end_training(tmp_path: Path, monkeypatch) -> None:
    module = KINDS["sylvester"][0]()

    def refuse(*args, **options):
        raise ConvergenceError("expected convergence", 1.0)

    monkeypatch.setitem(KINDS, "stuck", (lambda: module, KINDS["sylvester"][1]))
    monkeypatch.setattr(module.model.flow, "decode_reported", refuse)
    with pytest.warns(UserWarning, match="no round trip in epoch 0: expected convergence"):
        assert fit(tmp_path, "stuck", [RoundTrip()], max_epochs=1).global_step == 2
    assert "inverse/round_trip_error" not in events(tmp_path).Tags()["scalars"]
