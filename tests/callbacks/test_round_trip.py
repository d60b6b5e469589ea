from pathlib import Path

import pytest
import torch

from lightning_flows.callbacks import RoundTrip
from lightning_flows.errors import ConvergenceError
from tests.callbacks.test_monitors import KINDS, curve, events, fit


def test_the_error_is_measured_on_the_first_items(tmp_path: Path) -> None:
    module = fit(tmp_path, "sylvester", [RoundTrip(num_items=3)], max_epochs=1).lightning_module.eval()
    x = KINDS["sylvester"][1]().images[:3] + 0.5
    with torch.no_grad():
        flow = module.model.flow
        error = (flow.decode(flow.encode(x), accuracy="exact") - x).abs().max().item()
    assert curve(tmp_path, "inverse/round_trip_error") == pytest.approx([error], abs=1e-5)
    assert error < 0.05
    (mean,), (most,) = curve(tmp_path, "inverse/iterations"), curve(tmp_path, "inverse/most_iterations")
    assert 1 <= mean <= most < 200


def test_a_wrong_inverse_is_detected(tmp_path: Path, monkeypatch) -> None:
    module = KINDS["sylvester"][0]()
    decode = module.decode_reported

    def shifted(*args, **options):
        x, reports = decode(*args, **options)
        return x + 2, reports

    monkeypatch.setitem(KINDS, "wrong", (lambda: module, KINDS["sylvester"][1]))
    monkeypatch.setattr(module, "decode_reported", shifted)
    fit(tmp_path, "wrong", [RoundTrip()], max_epochs=1)
    assert curve(tmp_path, "inverse/round_trip_error") == pytest.approx([2], abs=0.1)


def test_an_inverse_that_does_not_converge_does_not_end_training(tmp_path: Path, monkeypatch) -> None:
    module = KINDS["sylvester"][0]()

    def refuse(*args, **options):
        raise ConvergenceError("no convergence", 1.0)

    monkeypatch.setitem(KINDS, "stuck", (lambda: module, KINDS["sylvester"][1]))
    monkeypatch.setattr(module, "decode_reported", refuse)
    with pytest.warns(UserWarning, match="no round trip in epoch 0: no convergence"):
        assert fit(tmp_path, "stuck", [RoundTrip()], max_epochs=1).global_step == 2
    assert "inverse/round_trip_error" not in events(tmp_path).Tags()["scalars"]


def test_padding_is_ignored(tmp_path: Path, monkeypatch) -> None:
    module = KINDS["graph"][0]()
    values, decode = module.values, module.decode_reported

    def padded(batch):
        x, exists = values(batch)
        return x, exists & (torch.arange(4) < 3)[:, None]

    def wrong_at_padding(*args, **options):
        x, reports = decode(*args, **options)
        x[:, 3] = 100.0
        return x, reports

    monkeypatch.setattr(module, "values", padded)
    monkeypatch.setattr(module, "decode_reported", wrong_at_padding)
    monkeypatch.setitem(KINDS, "padded", (lambda: module, KINDS["graph"][1]))
    fit(tmp_path, "padded", [RoundTrip()], max_epochs=1)
    assert curve(tmp_path, "inverse/round_trip_error")[0] < 1e-3
