import re

import pytest
from lightning.pytorch.callbacks import RichProgressBar
from rich import reconfigure

from lightning_flows.app.trainer import FlowTrainer
from lightning_flows.callbacks import ProgressBar, ProgressLines
from tests.callbacks.test_progress_lines import QUIET
from tests.modules.test_base import Stripes, make


@pytest.fixture
def _terminal():
    """As on a terminal, wide enough for one line."""
    reconfigure(force_terminal=True, width=200)
    yield
    reconfigure()


def of_kind(trainer: FlowTrainer, kind: type) -> list:
    return [callback for callback in trainer.callbacks if isinstance(callback, kind)]


@pytest.mark.usefixtures("_terminal")
def test_the_trainer_has_a_bar_on_a_terminal(tmp_path):
    trainer = FlowTrainer(default_root_dir=tmp_path, **QUIET)
    assert len(of_kind(trainer, ProgressBar)) == 1
    assert not of_kind(trainer, ProgressLines)
    own = ProgressBar(refresh_rate=7)
    assert of_kind(FlowTrainer(callbacks=[own], default_root_dir=tmp_path, **QUIET), ProgressBar) == [own]


def test_and_lines_elsewhere(tmp_path):
    assert len(of_kind(FlowTrainer(default_root_dir=tmp_path, **QUIET), ProgressLines)) == 1
    none = FlowTrainer(default_root_dir=tmp_path, enable_progress_bar=False, **QUIET)
    assert not of_kind(none, ProgressLines)
    assert none.progress_bar_callback is None


def test_ways_of_your_own_are_kept(tmp_path):
    lines = ProgressLines(seconds=60)
    assert of_kind(FlowTrainer(callbacks=[lines], default_root_dir=tmp_path, **QUIET), ProgressLines) == [lines]
    bar = RichProgressBar(refresh_rate=3)
    trainer = FlowTrainer(callbacks=bar, default_root_dir=tmp_path, **QUIET)
    assert trainer.progress_bar_callback is bar
    assert not of_kind(trainer, ProgressLines)


@pytest.mark.usefixtures("_terminal")
def test_the_bar_tells_when_the_whole_training_ends(tmp_path, capsys):
    FlowTrainer(max_epochs=2, default_root_dir=tmp_path, **QUIET).fit(make(), Stripes())
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().out)
    assert re.search(r"Epoch 1/1 \(0:00:\d\d left\)", shown)


@pytest.mark.usefixtures("_terminal")
def test_the_bar_moves_within_a_batch(tmp_path, monkeypatch):
    bar, seen = ProgressBar(), []
    bar._moved = -1.0
    monkeypatch.setattr(bar, "_update", lambda task, batches: seen.append(batches))
    monkeypatch.setattr("lightning_flows.callbacks.progress_bar.time.monotonic", iter(range(100)).__next__)
    flow = make(num_importance_samples=64, eval_chunk_size=128)
    FlowTrainer(callbacks=[bar], default_root_dir=tmp_path, **QUIET).test(flow, Stripes(), verbose=False)
    assert seen == sorted(seen)
    assert sorted(set(seen)) == [i / 4 for i in range(1, 9)]
