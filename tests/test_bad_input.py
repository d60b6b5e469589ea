"""Each mistake ends with one clear message and a nonzero status, and loses no data."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from lightning_flows.app.cli import main, run


def fails(capsys: pytest.CaptureFixture[str], args: list[str], *, status: int = 1) -> str:
    """Run, expect a failure, return the message: few lines, no traceback."""
    with pytest.raises(SystemExit) as exit_info:
        main(args)
    assert exit_info.value.code == status
    message = capsys.readouterr().err
    message = message[message.index("error: ") :]
    assert "Traceback" not in message
    assert len(message) < 700
    assert message.count("\n") <= 2
    return message


MISTAKES = {
    "--model.flow.hiden_channels=3": "--model.flow.hiden_channels is not an option; did you mean --model.flow.hidden",
    "--model.hidden_channels=3": "--model.hidden_channels is not an option of the class in use",
    "--model.flow.split.widht=3": "--model.flow.split.widht is not an option; did you mean --model.flow.split.width?",
    "--model.flow.split.width=x": "--model.flow.split.width: expected int; got x",
    "--model.flow.hidden_channels=x": "--model.flow.hidden_channels: expected int; got x",
    "--model.flow.hidden_channels=null": "--model.flow.hidden_channels: expected int; got None",
    "--model.flow=ConvSylvster": "--model.flow is ConvSylvster, which is not a class; did you mean ConvSylvesterFlow?",
    "--model.flow=NoSuchThing": "--model.flow is NoSuchThing, which is not a class: choose AutoregressiveFlow, ",
    "--model.dequantization=Variational": "did you mean VariationalDequantization?",
    "--model=NoSuchThing": "--model is NoSuchThing, which is not a class: choose GraphFlowModule, ImageFlowModule, ",
    "--data=CIFAR-10": "--data is CIFAR-10, which is not a class: choose ArrayImageDataModule, ",
    "--data=lightning.pytorch.LightningDataModule": "which is not a subclass of FlowDataModule",
    "--data=": "--data is empty: choose",
    "--data.batchsize=3": "--data.batchsize is not an option; did you mean --data.batch_size?",
    "--optimizer=Adma": "--optimizer is Adma, which is not a class; did you mean Adam?",
    "--optimizer.lrr=3": "--optimizer.lrr is not an option; did you mean --optimizer.lr?",
    "--optimizer.lr=fast": "--optimizer.lr is fast, which is not a valid value",
    "--lr_scheduler.warmup_epoch=3": "did you mean --lr_scheduler.warmup_epochs?",
    "--trainer.max_epoks=3": "--trainer.max_epoks is not an option; did you mean --trainer.max_epochs?",
    "--trainer.precision=fp16": "--trainer.precision is fp16, which is not one of 64, 32, 16, ",
    "--trainer.logger=wandb": "--trainer.logger is wandb, which is not a class; did you mean WandbLogger?",
    "--trainer.callbacks+=EarlyStoping": "did you mean EarlyStopping?",
    "--trainer.callbacks+=EarlyStopping": "monitor is missing and has no default",
    "--conifg=demo.yaml": "--conifg is not an option; did you mean --config?",
    "demo.yaml": "demo.yaml is not an option: put --config before it",
}


@pytest.mark.parametrize(("option", "message"), MISTAKES.items())
def test_mistyped_options(option: str, message: str, tiny: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert message in fails(capsys, ["fit", *tiny, option], status=2)


def test_options_of_a_model_that_no_config_has(capsys: pytest.CaptureFixture[str]) -> None:
    message = fails(capsys, ["fit", "--config=data/sample_photos.yaml", "--model.flow=GlowFlow"], status=2)
    assert "model is missing: pass --model, or a --config that sets it" in message


@pytest.mark.parametrize("arguments", [["sample", "a.ckpt"], ["figure", "5", "--ckpt_path=a.ckpt"]])
def test_the_option_of_a_trainer_command(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    message = fails(capsys, [*arguments, "--model.flow=GlowFlow"], status=2)
    assert "--model.flow is not an option; did you mean --model?" in message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: {init_args: {flw: 3}}", "model.init_args.flw in wrong.yaml is not an option; did you mean"),
        (
            "model: {init_args: {flow: {init_args: {split: {widht: 3}}}}}",
            "flow.init_args.split.widht in wrong.yaml is not an option; did you mean "
            "model.init_args.flow.init_args.split.width?",
        ),
        (
            "model: {init_args: {flow: {init_args: {hiden_channels: 3}}}}",
            "model.init_args.flow.init_args.hiden_channels in wrong.yaml is not an option; did you mean "
            "model.init_args.flow.init_args.hidden_channels?",
        ),
        ("trainer: {max_epoch: 3}", "trainer.max_epoch in wrong.yaml is not an option; did you mean trainer.max_epoc"),
        ("optimizer: {init_args: {lrr: 3}}", "optimizer.init_args.lrr in wrong.yaml is not an option; did you mean"),
    ],
)
def test_mistyped_keys_of_a_config(
    text: str,
    message: str,
    tmp_path: Path,
    tiny: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("wrong.yaml").write_text(text)
    assert message in fails(capsys, ["fit", *tiny, "--config=wrong.yaml"], status=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--trainer.accelerator=cuda"], "accelerator cuda is not available on this machine"),
        (["--trainer.accelerator=gpu"], "accelerator gpu is not available on this machine"),
        (["--trainer.strategy=ddp_spawn"], "ddp_spawn is not supported on the command line: use ddp"),
        (["--trainer.strategy=ddp_fork_find_unused_parameters_true"], "ddp_fork_find_unused_parameters_true is not"),
        (
            ["--trainer.strategy=DDPStrategy", "--trainer.strategy.start_method=spawn"],
            "start_method spawn is not",
        ),
        (["--trainer.devices=99999"], "devices is 99999, but this machine's CPU runs at most"),
        (["--trainer.precision=bf16-true"], "precision bf16-true is not supported"),
        (["--trainer.max_time=10m"], "max_time is 10m: use days, hours, minutes and seconds"),
        (["--model.optimizer=SGD"], "--model.optimizer is not used: use --optimizer"),
        (["--model.event_shape=[1, 8, 8]"], "--model.event_shape is not used: it is determined by the data"),
        (['--config={"model": {"init_args": {"lr_scheduler": null}}}'], "model.init_args.lr_scheduler is not used"),
        (["--trainer.callbacks+=EarlyStopping", "--trainer.callbacks.monitor=val/bdp"], "did you mean val/bpd?"),
    ],
)
@pytest.mark.skipif(torch.cuda.is_available(), reason="of a machine without a GPU")
def test_refused_before_anything_starts(
    options: list[str], message: str, tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = f"--trainer.logger.init_args.save_dir={tmp_path / 'runs'}"
    accelerator = [] if "accelerator" in options[0] else ["--trainer.accelerator=cpu"]
    assert message in fails(capsys, ["fit", *tiny, folder, *accelerator, *options])
    assert not list(tmp_path.rglob("*.ckpt"))


def test_a_constant_learning_rate(tiny: list[str], tmp_path: Path) -> None:
    fitted = run(["fit", *tiny, "--lr_scheduler=null", f"--trainer.logger.init_args.save_dir={tmp_path}"])
    assert fitted.trainer.lr_scheduler_configs == []
    assert fitted.trainer.optimizers[0].param_groups[0]["lr"] == 4e-3


def test_enable_checkpointing_false_writes_none(tiny: list[str], tmp_path: Path) -> None:
    folder = f"--trainer.logger.init_args.save_dir={tmp_path}"
    main(["fit", *tiny, folder, "--trainer.enable_checkpointing=false", "--trainer.accelerator=cpu"])
    assert not list(tmp_path.rglob("*.ckpt"))


def test_missing_config(capsys: pytest.CaptureFixture[str]) -> None:
    assert "nope.yaml" in fails(capsys, ["fit", "--config=nope.yaml"], status=2)
    assert "data is missing: pass --data" in fails(capsys, ["fit", "--config=model/sylvester.yaml"], status=2)


def folder_options(root: Path, tmp_path: Path) -> list[str]:
    return [
        "--data=ImageFolderDataModule",
        f"--data.init_args.root={root}",
        f"--trainer.logger.init_args.save_dir={tmp_path}",
    ]


def test_empty_folder(tmp_path: Path, tiny: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "images"
    root.mkdir()
    options = [option for option in tiny if "stride" not in option]
    assert str(root) in fails(capsys, ["fit", *options, *folder_options(root, tmp_path)])


def test_broken_image(tmp_path: Path, tiny: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "images"
    root.mkdir()
    Image.new("RGB", (32, 32)).save(root / "good.png")
    (root / "broken.png").write_bytes((root / "good.png").read_bytes()[:60])
    options = [option for option in tiny if "stride" not in option]
    assert "broken.png" in fails(capsys, ["fit", *options, *folder_options(root, tmp_path)])


@pytest.mark.parametrize("size", [31, 30])
def test_sizes_that_cannot_be_halved(
    size: int, tmp_path: Path, tiny: list[str], image_tar: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [option for option in tiny if "stride" not in option]
    message = fails(capsys, ["fit", *options, *folder_options(image_tar, tmp_path), f"--data.init_args.size={size}"])
    assert f"multiples of 4 for 2 levels; got (3, {size}, {size})" in message


def test_checkpoint_for_other_channels(trained: Path, image_tar: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--data=ImageFolderDataModule", f"--data.init_args.root={image_tar}", "--data.init_args.channels=1"]
    message = fails(capsys, ["test", f"--ckpt_path={trained}", *options])
    assert "(3, 32, 32)" in message
    assert "(1, 32, 32)" in message


def test_checkpoint_of_another_model(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = fails(capsys, ["test", f"--ckpt_path={trained}", "--model.flow.hidden_channels=24"])
    assert "another model" in message


@pytest.mark.parametrize("subcommand", ["fit", "validate", "test", "predict", "sample"])
def test_truncated_checkpoint(
    subcommand: str, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.ckpt"
    broken.write_bytes(trained.read_bytes()[:20_000])
    options = [f"--out={tmp_path / 'out.png'}"] if subcommand == "sample" else []
    assert "truncated" in fails(capsys, [subcommand, f"--ckpt_path={broken}", *options])


def test_classes_outside_the_package_in_a_checkpoint(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = torch.load(trained, weights_only=True)
    checkpoint["lightning_flows"]["model"]["class_path"] = "subprocess.Popen"
    path = tmp_path / "foreign.ckpt"
    torch.save(checkpoint, path)
    assert "subprocess.Popen" in fails(capsys, ["test", f"--ckpt_path={path}"])
    assert "subprocess.Popen" in fails(capsys, ["sample", f"--ckpt_path={path}", f"--out={tmp_path / 'out.png'}"])


def test_missing_checkpoint(capsys: pytest.CaptureFixture[str]) -> None:
    assert "nowhere.ckpt" in fails(capsys, ["test", "--ckpt_path=nowhere.ckpt"])


def test_run_folders_that_cannot_be_written(
    tmp_path: Path, tiny: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    obstacle = tmp_path / "file"
    obstacle.write_text("precious")
    for folder in (obstacle / "runs", Path("/sys/runs")):  # nobody can create folders there, not even root
        message = fails(capsys, ["fit", *tiny, f"--trainer.logger.init_args.save_dir={folder}"])
        assert str(folder) in message
    assert obstacle.read_text() == "precious"


@pytest.mark.parametrize("subcommand", ["predict", "sample"])
def test_existing_files_are_kept(
    subcommand: str, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    existing = tmp_path / "results.png"
    existing.write_text("precious")
    assert str(existing) in fails(capsys, [subcommand, f"--ckpt_path={trained}", f"--out={existing}"])
    assert existing.read_text() == "precious"


def test_a_loss_that_becomes_non_finite(tmp_path: Path, tiny: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    options = [
        f"--trainer.logger.init_args.save_dir={tmp_path}",
        "--optimizer.lr=1e30",
        "--trainer.max_epochs=9",
    ]
    message = fails(capsys, ["fit", *tiny, *options, "--lr_scheduler.warmup_epochs=0"])
    assert "expected finite log-probabilities in" in message


@pytest.mark.parametrize("options", [["--num=0"], ["--batch_size=-1"], ["--temperature=-1"]])
def test_sampling_options_out_of_range(
    options: list[str], trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["sample", f"--ckpt_path={trained}", f"--out={tmp_path}/a.png", *options]
    assert f"{options[0].partition('=')[0]} " in fails(capsys, command)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--model.flow.hidden_channels=0", "expected --model.flow.hidden_channels of at least 1; got 0"),
        ("--model.flow.num_levels=0", "expected --model.flow.num_levels of at least 1; got 0"),
        ("--trainer.callbacks+=lightning_flows.callbacks.SampleGrid", "every_n_epochs is 0: use at least 1"),
    ],
)
def test_sizes_out_of_range(
    option: str, message: str, tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [option, "--trainer.callbacks.every_n_epochs=0"] if "callbacks" in option else [option]
    assert message in fails(capsys, ["fit", *tiny, *options, f"--trainer.logger.init_args.save_dir={tmp_path}"])


@pytest.mark.parametrize("option", ["model.num_importance_samples", "optimizer.betas", "data.batch_size", "data.seed"])
def test_null_where_a_value_is_required(option: str, tiny: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert f"{option} is null: set a value" in fails(capsys, ["fit", *tiny, f"--{option}=null"])


def test_an_empty_root_is_refused(tiny: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    options = [option for option in tiny if "stride" not in option]
    assert "root is empty" in fails(capsys, ["fit", *options, "--data=ImageFolderDataModule", "--data.root="])
