"""Checkpoints with custom classes, and training that starts from weights only."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from lightning_flows.app.cli import run
from lightning_flows.app.commands.sample import sample
from lightning_flows.app.given_checkpoint import with_checkpoint_config
from lightning_flows.errors import CheckpointError
from lightning_flows.modules import load_flow, load_model, read_checkpoint

OWN = """from lightning_flows.flows import ConvSylvesterFlow
from lightning_flows.nets import DenseSizes

class Narrow(ConvSylvesterFlow):
    def __init__(self, event_shape, *, levels: int = 2):
        super().__init__(event_shape, num_levels=levels, steps_per_level=1, hidden_channels=12,
                         split=DenseSizes(8, 1, 8))
"""


@pytest.fixture
def own(tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Checkpoint of a custom flow whose module can be imported."""
    (tmp_path / "own_flows.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    options = [option for option in tiny if not option.startswith("--model.flow")]
    save = f"--trainer.logger.init_args.save_dir={tmp_path}"
    run(["fit", *options, save, "--model.flow=own_flows.Narrow", "--model.flow.levels=1"])
    yield tmp_path / "demo/version_0/checkpoints/best.ckpt"
    del sys.modules["own_flows"]


def test_a_custom_flow_is_only_used_if_named(own: Path, tmp_path: Path) -> None:
    for refused in (lambda: load_model(own), lambda: run(["test", f"--ckpt_path={own}"])):
        with pytest.raises(CheckpointError, match=r"own_flows\.Narrow, a class from outside .*--model"):
            refused()
    (tmp_path / "named.yaml").write_text("model: {init_args: {flow: {class_path: own_flows.Narrow}}}\n")
    for named in ("--model.flow=own_flows.Narrow", f"--config={tmp_path / 'named.yaml'}"):
        tested = run(["test", f"--ckpt_path={own}", named, "--trainer.limit_test_batches=1"])
        assert len(tested.model.model.flow.levels) == 1
    for names in ("own_flows.Narrow", ["own_flows.Narrow"], sys.modules["own_flows"].Narrow):
        assert type(load_flow(own, names).flow).__name__ == "Narrow"
    assert sample(str(own), str(tmp_path / "a.png"), num=1, model="own_flows.Narrow").is_file()


def test_a_different_flow_replaces_a_custom_one(own: Path) -> None:
    """Its arguments are dropped as well; the weights are checked later."""
    args = with_checkpoint_config(["test", "--model.flow=CouplingFlow"], read_checkpoint(own))
    assert "own_flows" not in args[1]
    assert "UniformDequantization" in args[1]


def test_training_starts_from_weights_only(
    trained: Path, image_tar: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = ["--data=ImageFolderDataModule", f"--data.init_args.root={image_tar}", "--data.init_args.batch_size=4"]
    options += ["--optimizer.lr=1e-12", "--trainer.max_epochs=1", "--trainer.limit_train_batches=2"]
    options += [f"--trainer.logger.init_args.save_dir={tmp_path}", "--trainer.enable_progress_bar=false"]
    fitted = run(["fit", f"--weights_from={trained}", *options])
    assert (fitted.trainer.global_step, fitted.trainer.current_epoch) == (2, 1)
    assert {float(state["step"]) for state in fitted.trainer.optimizers[0].state.values()} == {2.0}
    weights = torch.load(trained, weights_only=True)["state_dict"]
    for name, parameter in fitted.model.named_parameters():
        torch.testing.assert_close(parameter, weights[name], rtol=0, atol=1e-9)
    best = Path(fitted.trainer.checkpoint_callback.best_model_path)
    assert best.is_relative_to(tmp_path)
    assert "optimizer.lr: 1e-12 overrides 0.004 in the checkpoint" in caplog.text
    last = run(["fit", f"--weights_from={trained}", *options, "--ckpt_path=last", "--trainer.max_epochs=2"])
    assert last.trainer.global_step == 4  # an existing run is resumed


def test_training_from_weights_has_its_own_optimizer(trained: Path, tiny: list[str], tmp_path: Path) -> None:
    """A config may have the arguments of another schedule than the checkpoint's."""
    save = f"--trainer.logger.init_args.save_dir={tmp_path}"
    other = ["--optimizer=Adamax", "--lr_scheduler=null", save, "--trainer.logger.init_args.name=other"]
    folder = Path(run(["fit", *tiny, *other]).trainer.log_dir)
    fitted = run(["fit", f"--weights_from={folder}/checkpoints/last.ckpt", *tiny, save])
    assert type(fitted.trainer.optimizers[0]) is torch.optim.Adam
    assert fitted.trainer.lr_scheduler_configs


def test_weights_from_is_refused_when_resuming_and_for_another_model(trained: Path, tiny: list[str]) -> None:
    with pytest.raises(CheckpointError, match=r"is resumed, so --weights_from .* has no effect"):
        run(["fit", *tiny, f"--ckpt_path={trained}", f"--weights_from={trained}"])
    with pytest.raises(CheckpointError, match="of a different shape"):
        run(["fit", *tiny, f"--weights_from={trained}", "--model.flow.hidden_channels=24", "--trainer.logger=false"])
