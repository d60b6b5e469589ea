"""The trainer of the command line."""

from pathlib import Path

import pytest
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.accelerators import MPSAccelerator
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from lightning_flows.app.cli import run
from lightning_flows.app.default_trainer import default_trainer
from lightning_flows.callbacks import (
    AveragedWeights,
    CurveRecorder,
    NoSearchOnResume,
    PredictionWriter,
    ResultTable,
    RunSummary,
    TestRecorder,
)
from lightning_flows.errors import FlowsError, OutputError, UsageError
from lightning_flows.modules import ImageFlowModule
from lightning_flows.training.signals import Interrupted
from tests.interrupted import Ask, Noise
from tests.small_modules import image_module


def test_a_run_without_data_leaves_no_folder(tiny, tmp_path: Path) -> None:
    options = ["--config=csf_small.yaml", "--data.init_args.root=nowhere", "--trainer.accelerator=cpu"]
    options += [f"--trainer.logger.init_args.save_dir={tmp_path}/runs"]
    with pytest.raises(FlowsError, match="nowhere does not exist"):
        run(["fit", *options])
    assert not list(tmp_path.glob("runs/*"))


def test_a_run_that_fails_during_training_is_kept(tiny, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(ImageFlowModule, "training_step", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(["fit", *tiny, f"--trainer.logger.init_args.save_dir={tmp_path}"])
    assert (tmp_path / "demo/version_0/config.yaml").is_file()


def plain(**options: object) -> Trainer:
    return default_trainer(
        **{"accelerator": "cpu", "logger": False, "enable_checkpointing": False, "max_epochs": 1} | options,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def flow(**options: object) -> ImageFlowModule:
    return image_module(**options)


def test_a_trainer_can_predict_twice(tmp_path: Path, capsys) -> None:
    writer = PredictionWriter(tmp_path / "a.csv", overwrite=True)
    trainer, model = plain(callbacks=[writer]), flow()
    texts = []
    for _ in range(2):
        trainer.predict(model, datamodule=Noise(batch_size=4), return_predictions=False)
        texts.append((tmp_path / "a.csv").read_text())
    assert texts[0] == texts[1]
    assert capsys.readouterr().out.count("scores: ") == 2
    writer.overwrite = False
    with pytest.raises(OutputError, match=r"a\.csv exists"):
        trainer.predict(model, datamodule=Noise(batch_size=4), return_predictions=False)


def test_a_process_can_fit_twice(tmp_path: Path) -> None:
    trainer = plain(callbacks=[Ask("train", 0, 2)])
    with pytest.raises(Interrupted):
        trainer.fit(flow(), Noise(batch_size=4))
    trainer.callbacks = [callback for callback in trainer.callbacks if not isinstance(callback, Ask)]
    trainer.fit(flow(), Noise(batch_size=4))
    assert trainer.global_step >= 5


@pytest.mark.parametrize("accelerator", ["auto", "gpu", None])
def test_a_device_without_float64_is_not_selected(accelerator: str | None, monkeypatch) -> None:
    monkeypatch.setattr(MPSAccelerator, "is_available", lambda: True)
    options = {} if accelerator is None else {"accelerator": accelerator}
    assert type(default_trainer(logger=False, **options).accelerator).__name__ == "CPUAccelerator"
    with pytest.raises(UsageError, match="mps has no float64"):
        default_trainer(accelerator="mps")


@pytest.mark.parametrize("name", ["accumulate_grad_batches", "check_val_every_n_epoch", "val_check_interval"])
@pytest.mark.parametrize("value", [0, -1])
def test_a_count_below_one_is_refused(name: str, value: int) -> None:
    with pytest.raises(UsageError, match=f"{name} is {value}: use a number above 0"):
        default_trainer(accelerator="cpu", logger=False, **{name: value})


class Named(Noise):
    """Data with an argument that shares its name with one of the model."""

    def __init__(self, hidden_channels: int = 3, batch_size: int = 4) -> None:
        super().__init__(batch_size=batch_size)


def test_data_and_model_may_share_argument_names(tmp_path: Path) -> None:
    data = Named()
    plain(logger=CSVLogger(tmp_path)).fit(flow(), datamodule=data)
    assert data.hparams["hidden_channels"] == 3
    (kept,) = tmp_path.rglob("hparams.yaml")
    assert "hidden_channels: 12" in kept.read_text()


def test_callbacks_that_checkpoints_cannot_tell_apart_are_refused() -> None:
    best, latest = ModelCheckpoint(monitor="val/bpd"), ModelCheckpoint(every_n_train_steps=5)
    twin = ModelCheckpoint(monitor="val/bpd", save_top_k=3, filename="top")
    message = r"there are two ModelCheckpoint callbacks with the same key in checkpoints, ModelCheckpoint\{.*: change"
    with pytest.raises(UsageError, match=message):
        plain(callbacks=[best, twin], enable_checkpointing=True)
    assert {best, latest} <= set(plain(callbacks=[best, latest], enable_checkpointing=True).callbacks)


EVERY_RUN = (AveragedWeights, CurveRecorder, NoSearchOnResume, ResultTable, RunSummary, TestRecorder)


@pytest.mark.parametrize("kind", EVERY_RUN)
def test_a_callback_of_every_run_is_not_added_twice(kind: type[Callback]) -> None:
    own = kind()
    assert [each for each in plain(callbacks=[own]).callbacks if isinstance(each, kind)] == [own]
    assert sum(isinstance(each, kind) for each in plain().callbacks) == 1
