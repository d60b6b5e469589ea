import csv
import json
import math
import re
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from lightning_flows.app.cli import main, run
from lightning_flows.app.given_checkpoint import compare
from lightning_flows.data import SamplePhotosDataModule
from lightning_flows.errors import CheckpointError
from lightning_flows.modules import load_model, read_checkpoint


def test_fit_fills_the_run_folder(trained: Path) -> None:
    run_folder = trained.parents[1]
    assert (run_folder / "checkpoints/last.ckpt").is_file()
    assert list(run_folder.glob("events.out.tfevents.*"))
    model = yaml.safe_load((run_folder / "config.yaml").read_text())["model"]["init_args"]
    assert model["flow"]["init_args"]["hidden_channels"] == 12
    with Image.open(run_folder / "samples/epoch_0000.png") as grid:
        assert grid.size == (8 * 33 + 1, 8 * 33 + 1)
    runtime = json.loads((run_folder / "runtime.json").read_text())
    assert runtime["sample_seconds_per_image"] > 0
    assert runtime["torch"] == torch.__version__


@pytest.mark.parametrize("subcommand", ["validate", "test"])
def test_evaluation_needs_only_the_checkpoint(
    subcommand: str, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    trainer = run([subcommand, "--ckpt_path", str(trained)]).trainer
    bpd = trainer.callback_metrics[f"{subcommand.removesuffix('idate')}/bpd"]
    assert 3 < bpd < 12
    assert not list(tmp_path.iterdir())  # nothing is left behind


def test_an_evaluation_of_no_batch_says_so(trained: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        run(["test", "--ckpt_path", str(trained), "--trainer.limit_test_batches=0"])
    assert "nothing was scored: the options limit test to no batch" in caplog.text


def test_options_override_the_checkpoint_and_are_reported(
    trained: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        trainer = run(["test", "--ckpt_path", str(trained), "--model.num_importance_samples=4"]).trainer
    assert trainer.callback_metrics["test/nll_bpd"] <= trainer.callback_metrics["test/bpd"]
    assert "num_importance_samples: 4 overrides 0 in the checkpoint" in caplog.text + capsys.readouterr().out


def test_predict_writes_one_row_per_image(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    main(["predict", "--ckpt_path", str(trained), "--out", "scores.csv"])
    with Path("scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["index"]) for row in rows] == list(range(104))
    assert rows[0]["name"].startswith("china.jpg")
    for row in rows:
        assert float(row["bpd"]) == pytest.approx(-float(row["log_likelihood"]) / (3072 * math.log(2)), rel=1e-5)


def test_last_resumes_in_the_newest_folder(tiny: list[str], tmp_path: Path) -> None:
    options = [*tiny, f"--trainer.logger.init_args.save_dir={tmp_path}"]
    first = run(["fit", *options, "--ckpt_path=last"]).trainer  # nothing to resume: a new run starts
    assert first.global_step == 3
    run(["fit", *options])
    assert sorted(path.name for path in (tmp_path / "demo").iterdir()) == ["version_0", "version_1"]
    resumed = run(["fit", *options, "--ckpt_path=last", "--trainer.max_epochs=3"]).trainer
    assert resumed.global_step == 9
    assert Path(resumed.log_dir).name == "version_1"
    assert sorted(path.name for path in (tmp_path / "demo").iterdir()) == ["version_0", "version_1"]


def test_a_new_learning_rate_overrides_the_resumed_one(trained: Path, tiny: list[str], tmp_path: Path) -> None:
    options = [*tiny, f"--trainer.logger.init_args.save_dir={tmp_path}", "--trainer.max_epochs=2"]
    trainer = run(["fit", *options, f"--ckpt_path={trained}", "--optimizer.lr=0.125"]).trainer
    (group,) = trainer.optimizers[0].param_groups
    assert group["initial_lr"] == 0.125
    assert group["lr"] > 0.05


def test_checkpoints_contain_only_tensors_and_plain_values(trained: Path) -> None:
    record = read_checkpoint(trained)["lightning_flows"]
    assert record["model"]["class_path"] == "lightning_flows.modules.ImageFlowModule"
    assert record["data"]["init_args"]["batch_size"] == 8
    assert load_model(trained).event_shape == (3, 32, 32)


def test_help_names_every_subcommand(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(["--help"])
    assert exit_info.value.code == 0
    text = capsys.readouterr().out
    assert all(
        re.search(rf"^ +{name} ", text, re.M) for name in ("fit", "validate", "test", "predict", "sample", "demo")
    )


def test_transforms_do_not_import_lightning() -> None:
    import subprocess
    import sys

    code = "import sys, lightning_flows.transforms, lightning_flows.flows; sys.exit('lightning' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_config_may_name_the_checkpoint(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "test.yaml").write_text(f"ckpt_path: {trained}\n")
    trainer = run(["test", f"--config={tmp_path / 'test.yaml'}", "--trainer.limit_test_batches=1"]).trainer
    assert "test/bpd" in trainer.callback_metrics
    (tmp_path / "test.yaml").write_text("ckpt_path: /etc/passwd\n")
    with pytest.raises(SystemExit):
        main(["test", f"--config={tmp_path / 'test.yaml'}"])
    assert "error: /etc/passwd is not a checkpoint" in capsys.readouterr().err


def test_the_last_checkpoint_option_wins_and_options_are_not_abbreviated(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["test", f"--ckpt_path={trained}", "--ckpt_path=/etc/passwd"])
    assert "/etc/passwd is not a checkpoint" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["test", f"--ckpt_pat={trained}"])
    assert "--ckpt_pat is not an option; did you mean --ckpt_path?" in capsys.readouterr().err


def test_differences_of_data_and_seed_are_reported(trained: Path, caplog: pytest.LogCaptureFixture) -> None:
    options = ["--data.batch_size=4", "--seed_everything=3", "--trainer.limit_test_batches=1"]
    with caplog.at_level("INFO"):
        run(["test", f"--ckpt_path={trained}", *options])
    assert "data.batch_size: 4 overrides 8 in the checkpoint" in caplog.text
    assert "seed_everything: 3 overrides 0 in the checkpoint" in caplog.text


def test_options_override_configs_in_any_order(trained: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = trained.parents[1] / "config.yaml"
    options = [f"--ckpt_path={trained}", "--data.batch_size=4", "--trainer.limit_test_batches=1"]
    run(["test", *options, f"--config={config}"])
    assert "data.batch_size: 4 overrides 8 in the checkpoint" in caplog.text


@pytest.mark.parametrize("subcommand", ["validate", "test", "predict"])
def test_an_evaluation_without_a_checkpoint_is_refused(subcommand: str, trained: Path) -> None:
    with pytest.raises(CheckpointError, match=f"{subcommand} needs a checkpoint"):
        run([subcommand, f"--config={trained.parents[1] / 'config.yaml'}"])


def test_a_different_split_is_refused_by_default(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SamplePhotosDataModule, "split_arguments", lambda self: ("seed",), raising=False)
    options = ["test", f"--ckpt_path={trained}", "--data.seed=5", "--trainer.limit_test_batches=1"]
    with pytest.raises(CheckpointError, match=r"data\.seed is 5 instead of 0.*--allow_split_change=true"):
        run(options)
    run([*options, "--allow_split_change=true"])


def test_a_different_split_of_a_moved_folder_is_refused(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SamplePhotosDataModule, "split_arguments", lambda self: ("seed",), raising=False)
    checkpoint = torch.load(trained, weights_only=True)
    checkpoint["lightning_flows"]["data"]["init_args"]["root"] = "where/they/were"
    torch.save(checkpoint, tmp_path / "moved.ckpt")
    model, data = load_model(trained), SamplePhotosDataModule(seed=5)
    with pytest.raises(CheckpointError, match=r"data\.seed is 5 instead of 0"):
        compare(read_checkpoint(tmp_path / "moved.ckpt"), model, data)


def test_images_option_selects_an_image_folder(
    trained: Path, image_tar: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fitted = run(["predict", f"--ckpt_path={trained}", f"--images={image_tar}"])
    assert fitted.datamodule.event_shape == fitted.model.event_shape
    with Path("predictions.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 40
    for flag in (["--overwrite"], ["--overwrite", "True"]):
        Path("predictions.csv").write_text("old")
        main(["predict", "--ckpt_path", str(trained), "--images", str(image_tar), *flag])
        assert Path("predictions.csv").read_text().startswith("index,name")


@pytest.mark.parametrize("order", ["{ckpt} --npy --num=2", "--npy --num 2 {ckpt}", "--num=2 --ckpt_path {ckpt} --npy"])
def test_sample_accepts_its_checkpoint_as_an_argument(
    order: str, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["sample", *order.format(ckpt=trained).split()])
    assert {path.name for path in tmp_path.iterdir()} == {"samples.png", "samples.npy"}
    first = Path("samples.npy").read_bytes()
    main(["sample", str(trained), "--num=2", "--npy", "--overwrite", "--seed=1"])
    assert Path("samples.npy").read_bytes() != first


def test_callbacks_with_enums_are_written(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["fit", "--config=demo.yaml", "--trainer.callbacks+=Timer", "--print_config"])
    callbacks = yaml.safe_load(capsys.readouterr().out)["trainer"]["callbacks"]
    assert callbacks[-1]["init_args"]["interval"] == "step"
