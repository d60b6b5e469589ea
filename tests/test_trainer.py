import json
import shutil
from pathlib import Path

import pytest
import torch

from lightning_flows.cli import run
from lightning_flows.errors import FlowsError
from lightning_flows.modules import CSF


@pytest.fixture
def checkpoint(trained: Path, tmp_path: Path) -> Path:
    """A copy of a run folder, to write in."""
    shutil.copytree(trained.parents[1], tmp_path / "run")
    return tmp_path / "run/checkpoints/best.ckpt"


def test_results_of_tests_are_kept_beside_the_run(checkpoint: Path) -> None:
    for draws in (0, 2):
        run(["test", f"--ckpt_path={checkpoint}", f"--model.num_importance_samples={draws}"])
    lines = (checkpoint.parents[1] / "tests.jsonl").read_text().splitlines()
    first, second = (json.loads(line) for line in lines[-2:])
    assert set(first["metrics"]) == {"test/bpd", "test/bpd_standard_error"}
    assert second["metrics"]["test/importance_samples"] == 2
    assert second["model"]["class_path"].endswith(".CSF")
    assert second["model"]["init_args"]["num_importance_samples"] == 2
    assert second["data"]["class_path"].endswith(".SamplePhotos")
    assert (second["global_step"], second["num_items"], second["checkpoint"]) == (3, 104, "best.ckpt")
    assert second["num_parameters"] == sum(
        value.numel()
        for name, value in torch.load(checkpoint, weights_only=True)["state_dict"].items()
        if not name.endswith(("vector", "initialized"))
    )


def test_a_checkpoint_elsewhere_leaves_nothing(checkpoint: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone/model.ckpt"
    alone.parent.mkdir()
    shutil.move(checkpoint, alone)
    run(["test", f"--ckpt_path={alone}"])
    assert [path.name for path in alone.parent.iterdir()] == ["model.ckpt"]
    assert not list(tmp_path.glob("*.jsonl"))


def test_fit_tells_where_the_run_and_its_best_checkpoint_lie(tiny, tmp_path: Path, capsys, caplog, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    trainer = run(["fit", *tiny, "--trainer.logger.init_args.save_dir=here"]).trainer
    score = f"{trainer.callback_metrics['val/bpd'].item():.5g}"
    assert capsys.readouterr().out == f"best: here/demo/version_0/checkpoints/best.ckpt (val/bpd {score})\n"
    assert "parameters; run: here/demo/version_0" in caplog.text


def test_test_and_validate_print_their_results(checkpoint: Path, capsys) -> None:
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
    monkeypatch.setattr(CSF, "training_step", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(["fit", *tiny, f"--trainer.logger.init_args.save_dir={tmp_path}"])
    assert (tmp_path / "demo/version_0/config.yaml").is_file()


def test_a_training_that_is_over_says_so(checkpoint: Path, tiny, tmp_path: Path, caplog) -> None:
    options = [*tiny, f"--trainer.logger.init_args.save_dir={tmp_path}"]
    run(["fit", *options, f"--ckpt_path={checkpoint.with_name('last.ckpt')}"])
    assert "nothing was left to train after 3 steps" in caplog.text
