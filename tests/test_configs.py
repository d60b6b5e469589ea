"""Every config runs through the command line."""

from pathlib import Path

import pytest
import torch

from lightning_flows import modules
from lightning_flows.app.cli import run
from lightning_flows.app.commands.table import CONFIGS as CONFIGS_OF
from lightning_flows.app.configs import CONFIG_DIR, load_configs
from lightning_flows.reporting.tables.table4 import MODELS as TABLE4_MODELS

CONFIGS = sorted(str(path.relative_to(CONFIG_DIR)) for path in CONFIG_DIR.rglob("*.yaml"))
OVERLAYS = ["cpu.yaml", "ddp4.yaml", "multinode.yaml"]
BASES = ["table1/base.yaml", "table2/base.yaml", "table4/base.yaml"]
BASES += [f"table4/{model}.yaml" for model in TABLE4_MODELS]
RUNNABLE = [name for name in CONFIGS if not name.startswith("defaults/") and name not in (*OVERLAYS, *BASES)]
NETS = ["--model.hidden_channels=12", "--model.split_depth=1", "--model.dequantization_steps=1"]
GRAPHS = [name for name in RUNNABLE if name.startswith("table4/")]
IMAGES = [name for name in RUNNABLE if name not in GRAPHS]
ENTROPIES = {"mog4": 3.6324, "mog9": 4.2603, "mog16": 4.7549, "mog_ring": 4.0525}
SMALL = {
    "CSF": NETS,
    "CouplingFlow": NETS,
    "ResidualFlow": NETS,
    "MixingFlow": ["--model.width=8", "--model.depth=1", "--model.growth=8", "--model.dequantization_steps=1"],
}


def test_there_are_configs() -> None:
    assert {"csf.yaml", "csf_small.yaml", "demo.yaml"} <= set(RUNNABLE)


@pytest.mark.parametrize("name", CONFIGS)
def test_config_is_explained_in_its_first_line(name: str) -> None:
    assert (CONFIG_DIR / name).read_text().startswith("# ")


@pytest.mark.parametrize("name", IMAGES)
def test_config_trains_and_tests(name: str, tmp_path: Path, image_tar: Path) -> None:
    config = load_configs(name)
    data = config["data"]["class_path"]
    options = (
        []
        if data.endswith("SamplePhotosDataModule")
        else ["--data=ImageFolderDataModule", f"--data.init_args.root={image_tar}"]
    )
    small = ["--model.steps_per_level=1", "--data.num_workers=0", *SMALL[config["model"]["class_path"].split(".")[-1]]]
    trainer = run(
        [
            "fit", f"--config={name}", *small, *options, "--data.batch_size=8", "--trainer.max_epochs=1",
            "--trainer.limit_train_batches=2", "--trainer.limit_val_batches=1", "--trainer.enable_progress_bar=false",
            "--trainer.accelerator=cpu", f"--trainer.logger.init_args.save_dir={tmp_path}",
        ]
    ).trainer  # fmt: skip
    assert trainer.global_step == 2
    best = trainer.checkpoint_callback.best_model_path
    tested = run(["test", f"--ckpt_path={best}", "--model.num_importance_samples=2", "--trainer.limit_test_batches=1"])
    assert tested.trainer.callback_metrics["test/bpd"] > 0


@pytest.mark.parametrize("name", GRAPHS)
def test_config_of_graphs_trains_and_tests(name: str, tmp_path: Path) -> None:
    trainer = run(
        [
            "fit", f"--config={name}", "--model.width=8", "--data.batch_size=4", "--data.steps_per_epoch=2",
            "--data.num_val=8", "--data.num_test=8", "--trainer.max_epochs=1", "--trainer.enable_progress_bar=false",
            f"--trainer.logger.init_args.save_dir={tmp_path}",
        ]
    ).trainer  # fmt: skip
    assert trainer.global_step == 2
    best = trainer.checkpoint_callback.best_model_path
    metrics = run(["test", f"--ckpt_path={best}", "--model.num_test_samples=8"]).trainer.callback_metrics
    assert metrics["test/gap"] > 0
    data = max((key for key in ENTROPIES if f"/{key}_" in name), key=len)
    assert metrics["test/entropy"].item() == pytest.approx(ENTROPIES[data], abs=0.002)


@pytest.mark.parametrize("name", [name for name in RUNNABLE if name.startswith("table1/")])
def test_overlay_reduces_the_model(name: str, tmp_path: Path) -> None:
    """Composed through the parser as a person would; one step of two images."""
    fitted = run(
        [
            "fit", f"--config={name}", "--config=cpu.yaml", "--data.batch_size=2", "--trainer.max_epochs=1",
            "--trainer.limit_train_batches=1", "--trainer.limit_val_batches=0", "--trainer.callbacks=[]",
            "--trainer.enable_checkpointing=false", "--trainer.logger=false", "--trainer.accelerator=cpu",
            "--trainer.enable_progress_bar=false", f"--trainer.default_root_dir={tmp_path}",
        ]
    )  # fmt: skip
    assert fitted.model.hparams["mixing"] == Path(name).stem
    assert fitted.model.hparams["steps_per_level"] == 2
    assert sum(p.numel() for p in fitted.model.parameters()) == pytest.approx(2.70e6, rel=0.02)


def test_the_configs_of_table_1_differ_in_one_line() -> None:
    names = [name for name in RUNNABLE if name.startswith("table1/")]
    first, *others = [(CONFIG_DIR / name).read_text().splitlines() for name in names]
    assert len(others) == 3
    for lines in others:
        assert len([1 for one, other in zip(first, lines, strict=True) if one != other]) == 1


@pytest.mark.parametrize("name", [name for table in (1, 2, 3) for name in CONFIGS_OF[table]])
def test_every_run_of_a_table_can_be_reduced(name: str) -> None:
    """The overlay's keys fit the model's arguments."""
    config = load_configs(name, "cpu.yaml")
    kind = getattr(modules, config["model"]["class_path"].rpartition(".")[2])
    with torch.device("meta"):
        module = kind((3, 32, 32), **config["model"]["init_args"])
    assert module.hparams["num_importance_samples"] == (0 if "residual" in name else 10)
    assert sum(p.numel() for p in module.parameters()) < 5e6


@pytest.mark.parametrize("name", ["ddp4.yaml", "multinode.yaml"])
def test_a_rank_that_does_not_answer_ends_the_run_after_ten_minutes(name: str) -> None:
    assert load_configs(name)["trainer"]["strategy"]["init_args"]["timeout"] == "0:10:00"
