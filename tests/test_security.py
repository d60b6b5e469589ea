"""No code runs from a checkpoint, a config or a run's folder that somebody else made."""

from pathlib import Path

import pytest
import torch

from lightning_flows.cli import PLAIN_COMMANDS, main


class Touch:
    """What a pickle of it would do when loaded: make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def refused(args: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as info:
        main(args)
    assert info.value.code in (1, 2)
    return capsys.readouterr().err


READS_A_CHECKPOINT = {
    "fit": ["--config=demo.yaml"],
    "validate": [],
    "test": [],
    "predict": ["--out={folder}/scores.csv"],
    "sample": ["--out={folder}/grid.png"],
    "figure": ["samples", "--out={folder}/figure.png"],
}


@pytest.mark.parametrize("subcommand", READS_A_CHECKPOINT)
def test_a_checkpoint_with_code_is_refused_by_every_subcommand(
    subcommand: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evil, made = tmp_path / "evil.ckpt", tmp_path / "made"
    torch.save({"state_dict": {}, "lightning_flows": {}, "code": Touch(made)}, evil)
    torch.load(evil, weights_only=False)
    assert made.exists()  # loaded without care it would
    made.unlink()
    options = [option.format(folder=tmp_path) for option in READS_A_CHECKPOINT[subcommand]]
    assert "pickled code: not run" in refused([subcommand, *options, f"--ckpt_path={evil}"], capsys)
    assert not made.exists()


def test_the_list_above_is_complete() -> None:
    assert set(PLAIN_COMMANDS) - {"demo", "table", "report"} <= set(READS_A_CHECKPOINT)


@pytest.mark.parametrize(
    "config",
    [
        "model: {class_path: pathlib.Path, init_args: {args: [x]}}",
        "model: {class_path: subprocess.Popen, init_args: {args: [touch, MADE]}}",
        "data: {class_path: subprocess.Popen, init_args: {args: [touch, MADE]}}",
        "trainer: {logger: {class_path: subprocess.Popen, init_args: {args: [touch, MADE]}}}",
        "trainer: {strategy: {class_path: subprocess.Popen, init_args: {args: [touch, MADE]}}}",
        "trainer: {profiler: {class_path: subprocess.Popen, init_args: {args: [touch, MADE]}}}",
        "trainer: {callbacks: [{class_path: subprocess.Popen, init_args: {args: [touch, MADE]}}]}",
        "trainer: {plugins: [{class_path: subprocess.Popen, init_args: {args: [touch, MADE]}}]}",
        "model: !!python/object/apply:subprocess.Popen [[touch, MADE]]",
        "model: {init_args: {hidden_channels: !!python/object/apply:subprocess.Popen [[touch, MADE]]}}",
    ],
)
def test_a_config_builds_nothing_but_what_belongs_there(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made, path = tmp_path / "made", tmp_path / "evil.yaml"
    path.write_text(config.replace("MADE", str(made)))
    assert refused(["fit", "--config=demo.yaml", f"--config={path}"], capsys)
    assert not made.exists()


def test_the_folder_of_a_run_is_read_without_running_code(tmp_path: Path) -> None:
    made, run = tmp_path / "made", tmp_path / "runs/evil/version_0"
    (run / "checkpoints").mkdir(parents=True)
    for name in ("checkpoints/best.ckpt", "tests.jsonl", "events.out.tfevents.0", "runtime.json", "config.yaml"):
        torch.save(Touch(made), run / name)
    main(["report", f"--runs={tmp_path / 'runs'}", f"--out={tmp_path / 'report.html'}"])
    assert "evil" in (tmp_path / "report.html").read_text()
    assert not made.exists()
