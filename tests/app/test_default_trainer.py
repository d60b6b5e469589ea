import json
import shutil
from functools import reduce
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, LightningDataModule, Trainer
from lightning.pytorch.accelerators import MPSAccelerator
from lightning.pytorch.callbacks import BatchSizeFinder, LearningRateFinder, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader

from lightning_flows.app.cli import run
from lightning_flows.app.default_trainer import default_trainer
from lightning_flows.callbacks import PredictionWriter
from lightning_flows.errors import FlowsError, OutputError, UsageError
from lightning_flows.modules import ImageFlowModule
from lightning_flows.training.signals import Interrupted
from tests.callbacks.test_interruptible import Ask, Noise
from tests.small_modules import image_module


@pytest.fixture
def checkpoint(trained: Path, tmp_path: Path) -> Path:
    """A copy of a run folder, to write in."""
    shutil.copytree(trained.parents[1], tmp_path / "run")
    return tmp_path / "run/checkpoints/best.ckpt"


def test_results_are_recorded_in_the_run_folder(checkpoint: Path) -> None:
    for draws in (0, 2):
        run(["test", f"--ckpt_path={checkpoint}", f"--model.num_importance_samples={draws}"])
    lines = (checkpoint.parents[1] / "tests.jsonl").read_text().splitlines()
    first, second = (json.loads(line) for line in lines[-2:])
    assert set(first["metrics"]) == {"test/loss", "test/bpd", "test/bpd_standard_error"}
    assert second["metrics"]["test/importance_samples"] == 2
    assert second["model"]["class_path"].endswith(".ImageFlowModule")
    assert second["model"]["init_args"]["num_importance_samples"] == 2
    assert second["data"]["class_path"].endswith(".SamplePhotosDataModule")
    assert (second["global_step"], second["num_items"], second["checkpoint"]) == (3, 104, "best.ckpt")
    assert second["num_parameters"] == sum(
        value.numel()
        for name, value in torch.load(checkpoint, weights_only=True)["state_dict"].items()
        if not name.endswith(("vector", "initialized"))
    )


def test_nothing_is_recorded_for_a_checkpoint_outside_a_run(checkpoint: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone/model.ckpt"
    alone.parent.mkdir()
    shutil.move(checkpoint, alone)
    run(["test", f"--ckpt_path={alone}"])
    assert [path.name for path in alone.parent.iterdir()] == ["model.ckpt"]
    assert not list(tmp_path.glob("*.jsonl"))


def test_fit_prints_the_run_folder_and_the_best_checkpoint(tiny, tmp_path: Path, capsys, caplog, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    trainer = run(["fit", *tiny, "--trainer.logger.init_args.save_dir=here"]).trainer
    score = f"{trainer.callback_metrics['val/bpd'].item():.5g}"
    assert capsys.readouterr().out == f"best: here/demo/version_0/checkpoints/best.ckpt (val/loss {score})\n"
    assert "parameters; run: here/demo/version_0" in caplog.text


def test_results_are_printed(checkpoint: Path, capsys) -> None:
    for subcommand, name in (("test", "test/bpd"), ("validate", "val/bpd")):
        metrics = run([subcommand, f"--ckpt_path={checkpoint}"]).trainer.callback_metrics
        assert f"{name} " in (out := capsys.readouterr().out)
        assert {line.split()[0] for line in out.splitlines()} == set(metrics)
        assert float(out.split()[1]) == pytest.approx(metrics[out.split()[0]].item(), rel=1e-4)


def test_a_run_without_data_leaves_no_folder(tiny, tmp_path: Path) -> None:
    options = ["--config=csf_small.yaml", "--data.init_args.root=nowhere", "--trainer.accelerator=cpu"]
    options += [f"--trainer.logger.init_args.save_dir={tmp_path}/runs"]
    with pytest.raises(FlowsError, match="nowhere does not exist"):
        run(["fit", *options])
    assert not list(tmp_path.glob("runs/*"))


def test_a_run_that_fails_in_training_is_kept(tiny, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(ImageFlowModule, "training_step", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(["fit", *tiny, f"--trainer.logger.init_args.save_dir={tmp_path}"])
    assert (tmp_path / "demo/version_0/config.yaml").is_file()


def test_resuming_a_finished_training_says_so(checkpoint: Path, tiny, tmp_path: Path, caplog) -> None:
    options = [*tiny, f"--trainer.logger.init_args.save_dir={tmp_path}"]
    run(["fit", *options, f"--ckpt_path={checkpoint.with_name('last.ckpt')}"])
    assert "nothing was left to train after 3 steps" in caplog.text


def plain(**options: object) -> Trainer:
    return default_trainer(
        **{"accelerator": "cpu", "logger": False, "enable_checkpointing": False, "max_epochs": 1} | options,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def flow(**options: object) -> ImageFlowModule:
    return image_module(**options)


def test_one_trainer_predicts_twice(tmp_path: Path, capsys) -> None:
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


def test_a_second_fit_in_one_process_is_complete(tmp_path: Path) -> None:
    trainer = plain(callbacks=[Ask("train", 0, 2)])
    with pytest.raises(Interrupted):
        trainer.fit(flow(), Noise(batch_size=4))
    trainer.callbacks = [callback for callback in trainer.callbacks if not isinstance(callback, Ask)]
    trainer.fit(flow(), Noise(batch_size=4))
    assert trainer.global_step >= 5


class Plain(LightningDataModule):
    """Of Lightning's own kind: no hyper-parameters, no batch sizes, no count of its items."""

    def test_dataloader(self) -> DataLoader:
        data = Noise(batch_size=4)
        data.setup("test")
        return DataLoader(data.dataset("test"), batch_size=3)


def test_results_on_any_data_module_are_recorded(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    trainer, model = plain(), flow()
    saved = tmp_path / "checkpoints/best.ckpt"
    fitted = plain(callbacks=[ModelCheckpoint(tmp_path / "checkpoints", filename="best")], enable_checkpointing=True)
    fitted.fit(model, Noise(batch_size=4))
    trainer.test(model, datamodule=Plain(), ckpt_path=saved)
    (record,) = (json.loads(line) for line in (tmp_path / "tests.jsonl").read_text().splitlines())
    assert record["num_items"] == 10
    assert record["metrics"]["test/bpd"] > 0
    plain().test(model, Plain().test_dataloader(), ckpt_path=saved)  # of unknown data
    assert len((tmp_path / "tests.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize("accelerator", ["auto", "gpu", None])
def test_a_device_without_float64_is_not_chosen(accelerator: str | None, monkeypatch) -> None:
    monkeypatch.setattr(MPSAccelerator, "is_available", lambda: True)
    options = {} if accelerator is None else {"accelerator": accelerator}
    assert type(default_trainer(logger=False, **options).accelerator).__name__ == "CPUAccelerator"
    with pytest.raises(UsageError, match="mps has no float64"):
        default_trainer(accelerator="mps")


@pytest.mark.parametrize("name", ["accumulate_grad_batches", "check_val_every_n_epoch", "val_check_interval"])
@pytest.mark.parametrize("value", [0, -1])
def test_a_count_below_one_is_refused(name: str, value: int) -> None:
    with pytest.raises(UsageError, match=f"{name} is {value}: give a number above 0"):
        default_trainer(accelerator="cpu", logger=False, **{name: value})


@pytest.mark.parametrize(
    ("finder", "path", "value"),
    [
        (LearningRateFinder(num_training_steps=3), ("model", "init_args", "optimizer", "init_args", "lr"), 0.0005),
        (BatchSizeFinder(max_trials=1, steps_per_trial=1), ("data", "init_args", "batch_size"), 5),
    ],
)
def test_a_resumed_training_searches_nothing(
    finder: Callback, path: tuple[str, ...], value: float, tmp_path: Path, caplog
) -> None:
    def section(checkpoint: dict) -> dict:
        return reduce(lambda found, key: found[key], path[:-1], checkpoint["lightning_flows"])

    def train(**options: object) -> Path:
        best = ModelCheckpoint(tmp_path, filename="best", enable_version_counter=False)
        flow_trainer = plain(default_root_dir=tmp_path, callbacks=[finder, best], enable_checkpointing=True, **options)
        resumed = tmp_path / "last.ckpt" if (tmp_path / "last.ckpt").exists() else None
        flow_trainer.fit(flow(), datamodule=Noise(batch_size=4, eval_batch_size=4), ckpt_path=resumed)
        assert finder in flow_trainer.callbacks
        return tmp_path / "last.ckpt"

    first = torch.load(train(max_epochs=1), weights_only=True)
    section(first)[path[-1]] = value
    torch.save(first, tmp_path / "last.ckpt")
    second = torch.load(train(max_epochs=2), weights_only=True)
    assert "is skipped, as the run resumes" in caplog.text
    assert section(second)[path[-1]] == value
    steps = [each["optimizer_states"][0]["state"][0]["step"] for each in (first, second)]
    assert steps[1] == second["global_step"] > steps[0] == first["global_step"]


class Named(Noise):
    """Data with an argument of the name of a model's."""

    def __init__(self, hidden_channels: int = 3, batch_size: int = 4) -> None:
        super().__init__(batch_size=batch_size)


def test_data_and_model_may_have_arguments_of_one_name(tmp_path: Path) -> None:
    data = Named()
    plain(logger=CSVLogger(tmp_path)).fit(flow(), datamodule=data)
    assert data.hparams["hidden_channels"] == 3
    (kept,) = tmp_path.rglob("hparams.yaml")
    assert "hidden_channels: 12" in kept.read_text()
