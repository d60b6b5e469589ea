import re
from types import SimpleNamespace

import torch

from lightning_flows.app.default_trainer import default_trainer
from lightning_flows.callbacks import ProgressLines
from lightning_flows.callbacks import progress_lines as module
from tests.small_modules import Stripes, image_module

QUIET = {"logger": False, "enable_model_summary": False, "enable_checkpointing": False, "accelerator": "cpu"}


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if re.match("(fit|test|predict): ", line)]


def test_training_lines_show_progress_time_and_metrics(tmp_path, capsys):
    trainer = default_trainer(
        max_epochs=2,
        callbacks=[ProgressLines(seconds=0)],
        enable_progress_bar=False,
        default_root_dir=tmp_path,
        **QUIET,
    )
    trainer.fit(image_module(), Stripes())
    found = lines(capsys.readouterr().err)
    assert [re.search(r"\d+ %", line)[0] for line in found] == ["25 %", "50 %", "75 %", "100 %"]
    assert re.fullmatch(r"fit: 25 %, train/bpd \d\.\d{3}", found[0])
    assert re.fullmatch(r"fit: 75 %, 0:00:\d\d left, train/bpd \d\.\d{3}, val/bpd \d+\.\d{3}", found[2])
    assert ", 0:00:00 left" in found[3]


def test_test_lines_count_batches(tmp_path, capsys):
    trainer = default_trainer(
        callbacks=[ProgressLines(seconds=0)], enable_progress_bar=False, default_root_dir=tmp_path, **QUIET
    )
    trainer.test(image_module(), Stripes(), verbose=False)
    found = lines(capsys.readouterr().err)
    assert [re.match(r"test: \d+ %", line)[0] for line in found] == ["test: 50 %", "test: 100 %"]
    assert "0:00:00 left" in found[1]


def lines_of(monkeypatch, capsys, moments: list[tuple[float, float | None]], seconds: float = 5.0) -> list[str]:
    """Lines at given seconds and shares of a training without limits."""
    clock = SimpleNamespace(monotonic=lambda: now)
    monkeypatch.setattr(module, "time", clock)
    callback = ProgressLines(seconds)
    metrics = {"progress_bar_metrics": {"val/bpd": torch.tensor(2.0)}, "callback_metrics": {}}
    trainer = SimpleNamespace(is_global_zero=True, global_step=7, **metrics)
    for now, share in moments:  # noqa: B007
        callback._print(trainer, "fit", share)
    return lines(capsys.readouterr().err)


def test_a_line_at_each_percent_but_not_too_often(monkeypatch, capsys):
    moments = [(100.0, 0.001), (103.0, 0.011), (106.0, 0.012), (120.0, 0.013), (719.0, 0.014), (721.0, 0.015)]
    found = lines_of(monkeypatch, capsys, moments)
    assert [line[:8] for line in found] == ["fit: 0 %", "fit: 1 %", "fit: 1 %"]


def test_the_last_line_is_always_printed(monkeypatch, capsys):
    found = lines_of(monkeypatch, capsys, [(100.0, 0.5), (101.0, 0.75), (102.0, 1.0)])
    assert [line.split(",")[0] for line in found] == ["fit: 50 %", "fit: 100 %"]


def test_training_without_limits_shows_steps(monkeypatch, capsys):
    assert (
        lines_of(monkeypatch, capsys, [(0.0, None), (20.0, None), (601.0, None)]) == ["fit: step 7, val/bpd 2.000"] * 2
    )


def test_only_the_first_rank_prints(capsys):
    trainer = SimpleNamespace(is_global_zero=False, global_step=7, progress_bar_metrics={})
    ProgressLines(seconds=0)._print(trainer, "fit", 0.5)
    assert capsys.readouterr().err == ""
