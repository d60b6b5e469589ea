"""Every config runs through the command line."""

from pathlib import Path

import pytest
import yaml

from lightning_flows.cli import run
from lightning_flows.config_files import CONFIG_DIR

CONFIGS = sorted(str(path.relative_to(CONFIG_DIR)) for path in CONFIG_DIR.rglob("*.yaml"))
RUNNABLE = [name for name in CONFIGS if not name.startswith("defaults/")]
SMALL = ["--model.steps_per_level=1", "--model.hidden_channels=12", "--model.split_depth=1", "--data.num_workers=0"]


def test_there_are_configs() -> None:
    assert {"csf.yaml", "csf_small.yaml", "demo.yaml"} <= set(RUNNABLE)


@pytest.mark.parametrize("name", CONFIGS)
def test_config_is_explained_in_its_first_line(name: str) -> None:
    assert (CONFIG_DIR / name).read_text().startswith("# ")


@pytest.mark.parametrize("name", RUNNABLE)
def test_config_trains_and_tests(name: str, tmp_path: Path, picture_tar: Path) -> None:
    data = yaml.safe_load((CONFIG_DIR / name).read_text())["data"]["class_path"]
    options = [] if data.endswith("SamplePhotos") else ["--data=ImageFolder", f"--data.init_args.root={picture_tar}"]
    trainer = run(
        [
            "fit", f"--config={name}", *SMALL, *options, "--data.batch_size=8", "--trainer.max_epochs=1",
            "--trainer.limit_train_batches=2", "--trainer.limit_val_batches=1", "--trainer.enable_progress_bar=false",
            "--trainer.accelerator=cpu", f"--trainer.logger.init_args.save_dir={tmp_path}",
        ]
    ).trainer  # fmt: skip
    assert trainer.global_step == 2
    best = trainer.checkpoint_callback.best_model_path
    tested = run(["test", f"--ckpt_path={best}", "--model.num_importance_samples=2", "--trainer.limit_test_batches=1"])
    assert tested.trainer.callback_metrics["test/bpd"] > 0
