"""Results of tests in the run folder."""

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, LightningDataModule
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader

from lightning_flows.app.cli import run
from lightning_flows.data import SamplePhotosDataModule
from lightning_flows.modules import load_model
from lightning_flows.modules.metrics import MeanAndError
from lightning_flows.reporting.tables import items
from lightning_flows.reporting.tables.items import read_items
from lightning_flows.reporting.tables.runs import read_run
from tests.app.test_default_trainer import flow, plain
from tests.interrupted import Noise


@pytest.fixture
def checkpoint(trained: Path, tmp_path: Path) -> Path:
    """A writable copy of a run folder, without the results of other tests."""
    shutil.copytree(trained.parents[1], tmp_path / "run", ignore=shutil.ignore_patterns("tests.jsonl"))
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


def test_results_of_each_item_are_recorded(checkpoint: Path) -> None:
    folder, found = checkpoint.parents[1], []
    for options in (["--model.num_importance_samples=2"], ["--data.eval_batch_size=7"], ["--seed_everything=1"]):
        run(["test", f"--ckpt_path={checkpoint}", *options])
        found.append((read_run(folder), read_items(read_run(folder))))
    for tested, results in found:
        assert results.index.tolist() == list(range(104))
        assert results.values["loss"].mean() == pytest.approx(tested.metrics["test/bpd"], rel=1e-12)
        error = results.values["loss"].std(ddof=1) / 104**0.5
        assert error == pytest.approx(tested.metrics["test/bpd_standard_error"], rel=1e-12)
    (first, of_two), (_, of_one), (_, other_noise) = found
    assert of_two.values["nll_bpd"].mean() == pytest.approx(first.metrics["test/nll_bpd"], rel=1e-12)
    assert set(of_one.values) == {"loss"}
    assert of_two.digest == of_one.digest == other_noise.digest
    assert (of_two.seed, of_one.seed, other_noise.seed) == (0, 0, 1)
    assert abs(of_one.values["loss"] - other_noise.values["loss"]).max() > 0


def test_a_test_of_fewer_items_has_another_digest(checkpoint: Path) -> None:
    digests = []
    for batches in (2, 3):
        limit = f"--trainer.limit_test_batches={batches}"
        run(["test", f"--ckpt_path={checkpoint}", "--data.eval_batch_size=26", limit])
        record = json.loads((checkpoint.parents[1] / "tests.jsonl").read_text().splitlines()[-1])
        results = read_items(replace(read_run(checkpoint.parents[1]), test=record))
        assert results.index.tolist() == list(range(26 * batches))
        digests.append(results.digest)
    assert digests[0] != digests[1]


def test_a_trial_run_is_not_recorded(checkpoint: Path) -> None:
    """Its few items would take the place of the run's results."""
    run(["test", f"--ckpt_path={checkpoint}"])
    before = (checkpoint.parents[1] / "tests.jsonl").read_text()
    run(["test", f"--ckpt_path={checkpoint}", "--trainer.fast_dev_run=true", "--data.eval_batch_size=3"])
    assert (checkpoint.parents[1] / "tests.jsonl").read_text() == before


def test_metrics_are_recorded_if_the_results_of_items_cannot_be(checkpoint: Path, monkeypatch) -> None:
    monkeypatch.setattr(items, "MAX_ITEMS", 3)
    with pytest.warns(UserWarning, match="the results of each item were not recorded: 104 items"):
        run(["test", f"--ckpt_path={checkpoint}"])
    found = read_run(checkpoint.parents[1])
    assert found.metrics["test/bpd"] > 0
    assert read_items(found) is None


def test_nothing_is_recorded_for_a_checkpoint_outside_a_run(checkpoint: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone/model.ckpt"
    alone.parent.mkdir()
    shutil.move(checkpoint, alone)
    run(["test", f"--ckpt_path={alone}"])
    assert [path.name for path in alone.parent.iterdir()] == ["model.ckpt"]
    assert not list(tmp_path.glob("*.jsonl"))


class Replace(Callback):
    """Training in another process, which ends and replaces a checkpoint during the test."""

    def __init__(self, checkpoint: Path) -> None:
        self.checkpoint = checkpoint

    def on_test_batch_end(self, *args: object) -> None:
        content = torch.load(self.checkpoint, weights_only=True)
        torch.save(content | {"global_step": 2000}, self.checkpoint)
        record = {"state": "finished", "ended": time.time()}
        (self.checkpoint.parents[1] / "run.json").write_text(json.dumps(record))


def test_a_test_is_of_the_checkpoint_at_its_start(checkpoint: Path) -> None:
    (checkpoint.parents[1] / "run.json").write_text('{"state": "running"}')
    data = SamplePhotosDataModule(stride=32, eval_batch_size=52)
    plain(callbacks=[Replace(checkpoint)]).test(load_model(checkpoint), datamodule=data, ckpt_path=checkpoint)
    found = read_run(checkpoint.parents[1])
    assert found.state == "finished"
    assert found.test["global_step"] == 3
    assert found.why_not_final == "was tested before its training ended: test it again"


@pytest.mark.parametrize(("num", "names"), [(1, set()), (2, {"test/bpd_standard_error"})])
def test_a_single_item_has_no_standard_error(checkpoint: Path, num: int, names: set[str]) -> None:
    run(["test", f"--ckpt_path={checkpoint}", "--data.eval_batch_size=1", f"--trainer.limit_test_batches={num}"])
    assert set(read_run(checkpoint.parents[1]).metrics) == {"test/loss", "test/bpd"} | names


def test_results_that_are_not_finite_do_not_replace_others(checkpoint: Path, monkeypatch) -> None:
    run(["test", f"--ckpt_path={checkpoint}"])
    before = read_run(checkpoint.parents[1])
    infinite = torch.tensor(torch.inf), torch.tensor(torch.nan)
    monkeypatch.setattr(MeanAndError, "compute", lambda metric: infinite)
    with pytest.warns(UserWarning, match="were not recorded in the run folder: test/loss is inf"):
        run(["test", f"--ckpt_path={checkpoint}"])
    assert read_run(checkpoint.parents[1]).test == before.test


class Plain(LightningDataModule):
    """A plain LightningDataModule: no hyperparameters, no batch sizes, no count of items."""

    def test_dataloader(self) -> DataLoader:
        data = Noise(batch_size=4)
        data.setup("test")
        return DataLoader(data.dataset("test"), batch_size=3)


def test_results_are_recorded_for_any_data_module(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    trainer, model = plain(), flow()
    saved = tmp_path / "checkpoints/best.ckpt"
    fitted = plain(callbacks=[ModelCheckpoint(tmp_path / "checkpoints", filename="best")], enable_checkpointing=True)
    fitted.fit(model, Noise(batch_size=4))
    trainer.test(model, datamodule=Plain(), ckpt_path=saved)
    (record,) = (json.loads(line) for line in (tmp_path / "tests.jsonl").read_text().splitlines())
    assert record["num_items"] == 10
    assert record["metrics"]["test/bpd"] > 0
    plain().test(model, Plain().test_dataloader(), ckpt_path=saved)  # the data is unknown
    assert len((tmp_path / "tests.jsonl").read_text().splitlines()) == 1


def test_results_are_printed_if_they_cannot_be_recorded(checkpoint: Path, capsys) -> None:
    (checkpoint.parents[1] / "tests.jsonl").unlink(missing_ok=True)
    (checkpoint.parents[1] / "tests.jsonl").mkdir()
    with pytest.warns(UserWarning, match="were not recorded in the run folder"):
        run(["test", f"--ckpt_path={checkpoint}", "--trainer.limit_test_batches=1"])
    assert "test/bpd " in capsys.readouterr().out
