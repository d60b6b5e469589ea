import re
from types import SimpleNamespace

import pytest
import torch

from lightning_flows.app.trainer import FlowTrainer
from lightning_flows.callbacks import ProgressLines
from lightning_flows.callbacks import progress_lines as module
from tests.modules.test_base import Stripes, make

QUIET = {"logger": False, "enable_model_summary": False, "enable_checkpointing": False, "accelerator": "cpu"}


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if re.match("(fit|test|predict): ", line)]


def test_a_training_tells_share_time_and_metrics(tmp_path, capsys):
    trainer = FlowTrainer(
        max_epochs=2,
        callbacks=[ProgressLines(seconds=0)],
        enable_progress_bar=False,
        default_root_dir=tmp_path,
        **QUIET,
    )
    trainer.fit(make(), Stripes())
    found = lines(capsys.readouterr().err)
    assert [re.search(r"\d+ %", line)[0] for line in found] == ["25 %", "50 %", "75 %", "100 %"]
    assert re.fullmatch(r"fit: 25 %, train/bpd \d\.\d{3}", found[0])
    assert re.fullmatch(r"fit: 75 %, 0:00:\d\d left, train/bpd \d\.\d{3}, val/bpd \d+\.\d{3}", found[2])
    assert ", 0:00:00 left" in found[3]


def test_a_test_tells_of_parts_of_a_batch(tmp_path, capsys):
    """Eight images a batch, 64 draws of each, 128 at once: quarters of a batch."""
    flow = make(num_importance_samples=64, eval_chunk_size=128)
    trainer = FlowTrainer(
        callbacks=[ProgressLines(seconds=0)], enable_progress_bar=False, default_root_dir=tmp_path, **QUIET
    )
    trainer.test(flow, Stripes(), verbose=False)
    found = lines(capsys.readouterr().err)
    assert [int(re.search(r"(\d+) %", line)[1]) for line in found] == [12, 25, 37, 50, 62, 75, 87, 100]
    assert all("left" in line for line in found[1:])
    assert flow.on_batches_done is None  # it listens no more


def test_a_test_that_fails_leaves_no_listener(tmp_path, monkeypatch):
    flow = make()
    monkeypatch.setattr(flow, "test_step", lambda *args: 1 / 0)
    trainer = FlowTrainer(default_root_dir=tmp_path, **QUIET)
    with pytest.raises(ZeroDivisionError):
        trainer.test(flow, Stripes(), verbose=False)
    assert flow.on_batches_done is None


def told(monkeypatch, capsys, moments: list[tuple[float, float | None]], seconds: float = 5.0) -> list[str]:
    """Lines at given seconds and shares of a training without limits."""
    clock = SimpleNamespace(monotonic=lambda: now)
    monkeypatch.setattr(module, "time", clock)
    callback = ProgressLines(seconds)
    trainer = SimpleNamespace(is_global_zero=True, global_step=7, progress_bar_metrics={"val/bpd": torch.tensor(2.0)})
    for now, share in moments:  # noqa: B007
        callback._tell(trainer, share)
    return lines(capsys.readouterr().err)


def test_a_line_at_each_percent_but_not_too_often(monkeypatch, capsys):
    moments = [(100.0, 0.001), (103.0, 0.011), (106.0, 0.012), (120.0, 0.013), (719.0, 0.014), (721.0, 0.015)]
    found = told(monkeypatch, capsys, moments)
    assert [line[:8] for line in found] == ["fit: 0 %", "fit: 1 %", "fit: 1 %"]


def test_the_last_line_always_comes(monkeypatch, capsys):
    found = told(monkeypatch, capsys, [(100.0, 0.5), (101.0, 0.75), (102.0, 1.0)])
    assert [line.split(",")[0] for line in found] == ["fit: 50 %", "fit: 100 %"]


def test_a_training_without_limits_tells_its_steps(monkeypatch, capsys):
    assert told(monkeypatch, capsys, [(0.0, None), (20.0, None), (601.0, None)]) == ["fit: step 7, val/bpd 2.000"] * 2


def test_one_process_of_several_tells(capsys):
    trainer = SimpleNamespace(is_global_zero=False, global_step=7, progress_bar_metrics={})
    ProgressLines(seconds=0)._tell(trainer, 0.5)
    assert capsys.readouterr().err == ""
