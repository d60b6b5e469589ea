import logging
import re
import sys
from functools import partial

import pytest
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from rich import reconfigure

from lightning_flows.app.default_trainer import default_trainer
from lightning_flows.callbacks import ProgressBar, ProgressLines
from lightning_flows.data import ToyDataModule
from lightning_flows.flows import AutoregressiveFlow
from lightning_flows.modules import VectorFlowModule
from tests.callbacks.test_progress_lines import QUIET
from tests.small_modules import Stripes, image_module

toy_module = partial(VectorFlowModule, (2,), AutoregressiveFlow)
toy_data = partial(ToyDataModule, batch_size=8, eval_batch_size=8, steps_per_epoch=2, num_val=8)


@pytest.fixture
def _terminal():
    """A terminal wide enough for one line."""
    reconfigure(force_terminal=True, width=200)
    yield
    reconfigure()


def of_kind(trainer: Trainer, kind: type) -> list:
    return [callback for callback in trainer.callbacks if isinstance(callback, kind)]


@pytest.mark.usefixtures("_terminal")
def test_the_trainer_has_a_bar_on_a_terminal(tmp_path):
    trainer = default_trainer(default_root_dir=tmp_path, **QUIET)
    assert len(of_kind(trainer, ProgressBar)) == 1
    assert not of_kind(trainer, ProgressLines)
    own = ProgressBar(refresh_rate=7)
    assert of_kind(default_trainer(callbacks=[own], default_root_dir=tmp_path, **QUIET), ProgressBar) == [own]


def test_the_trainer_prints_lines_elsewhere(tmp_path):
    assert len(of_kind(default_trainer(default_root_dir=tmp_path, **QUIET), ProgressLines)) == 1
    none = default_trainer(default_root_dir=tmp_path, enable_progress_bar=False, **QUIET)
    assert not of_kind(none, ProgressLines)
    assert none.progress_bar_callback is None


def test_user_callbacks_are_kept(tmp_path):
    lines = ProgressLines(seconds=60)
    assert of_kind(default_trainer(callbacks=[lines], default_root_dir=tmp_path, **QUIET), ProgressLines) == [lines]
    bar = RichProgressBar(refresh_rate=3)
    trainer = default_trainer(callbacks=bar, default_root_dir=tmp_path, **QUIET)
    assert trainer.progress_bar_callback is bar
    assert not of_kind(trainer, ProgressLines)


class Last(Callback):
    def on_fit_end(self, trainer, pl_module):
        print("best: file")


def test_messages_do_not_disturb_the_bar(tmp_path, capfd, monkeypatch):
    handler = logging.StreamHandler(sys.stderr)
    monkeypatch.setattr(logging.getLogger("lightning.pytorch"), "handlers", [handler])
    bar = ProgressBar(console_kwargs={"force_terminal": True, "width": 80})
    trainer = default_trainer(
        max_epochs=1, callbacks=[bar, Last()], default_root_dir=tmp_path, enable_model_summary=False, logger=False,
        enable_checkpointing=False, accelerator="cpu",
    )  # fmt: skip
    trainer.fit(image_module(), Stripes())
    reconfigure()
    out, err = capfd.readouterr()
    assert "Trainer.fit" not in err  # would be written over the bar
    after = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", out[out.index("stopped: `max_epochs=1`") :])
    assert "Epoch 1/1" in after  # the bar is drawn again below the message
    assert after.endswith("\nbest: file\n")  # and not after training


@pytest.mark.parametrize(("module", "data", "unit"), [(image_module, Stripes, "bpd"), (toy_module, toy_data, "nll")])
def test_the_bar_fits_80_columns_and_shows_when_the_whole_training_ends(module, data, unit, tmp_path, capsys):
    bar = ProgressBar(console_kwargs={"force_terminal": True, "width": 80})
    logger = TensorBoardLogger(tmp_path, version=3)
    default_trainer(
        max_epochs=2, callbacks=[bar], default_root_dir=tmp_path, enable_model_summary=False, logger=logger,
        enable_checkpointing=False, accelerator="cpu",
    ).fit(module(), data())  # fmt: skip
    reconfigure()
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().out)
    lines = [line.rstrip() for line in re.split(r"[\r\n]+", shown)]
    pattern = rf"Epoch 2/2 \S{{10}} 2/2 0:00:\d\d left train/{unit}: \d+\.\d{{3}} val/{unit}: \d+\.\d{{3}}"
    assert any(re.fullmatch(pattern, line) for line in lines), shown
    assert all(line.startswith(("Epoch", "Validation", "Sanity")) for line in lines if "━" in line or "val/" in line)
