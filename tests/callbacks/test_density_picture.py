"""The picture of a density in a run's folder."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image

from lightning_flows.callbacks import DensityPicture, SampleGrid
from lightning_flows.data import ToyDataModule
from lightning_flows.errors import ConvergenceError, UsageError
from lightning_flows.flows import AutoregressiveFlow
from lightning_flows.modules import VectorFlowModule
from tests.callbacks.test_monitors import events
from tests.callbacks.test_monitors import fit as fit_kind


def module(size: int = 2) -> VectorFlowModule:
    return VectorFlowModule(None, AutoregressiveFlow((size,), num_layers=1, width=8, components=2))


def fit(folder: Path, flow: VectorFlowModule, callbacks: list[Any], **options: Any) -> torch.Tensor:
    """Train, and return the weights."""
    torch.manual_seed(0)
    logger = TensorBoardLogger(folder, "", "", default_hp_metric=False)
    quiet: dict[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    quiet["default_root_dir"] = folder
    trainer = Trainer(accelerator="cpu", max_epochs=2, logger=logger, callbacks=callbacks, **quiet, **options)
    trainer.fit(flow, ToyDataModule(steps_per_epoch=2, num_val=50))
    return torch.cat([p.detach().flatten() for p in flow.parameters()])


def test_each_validation_replaces_the_picture(tmp_path: Path) -> None:
    fit(tmp_path, module(), [DensityPicture(num_points=20)])
    with Image.open(tmp_path / "density.png") as image:
        assert image.width > 2 * image.height
        assert len(image.convert("RGB").getcolors(1 << 20) or []) > 50
    assert [event.step for event in events(tmp_path).Images("density")] == [2, 4]


def test_all_pictures_have_samples_of_the_same_noise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flow, noises = module(), []
    sample = flow.sample

    def watch(num: int, *, generator: torch.Generator) -> torch.Tensor:
        noises.append(torch.rand(3, generator=generator.clone_state()))
        return sample(num, generator=generator)

    monkeypatch.setattr(flow, "sample", watch)
    fit(tmp_path, flow, [DensityPicture(num_points=20)])
    assert torch.equal(*noises)


def test_training_is_the_same_with_and_without_pictures(tmp_path: Path) -> None:
    torch.manual_seed(1)
    flows = [module() for _ in range(2)]
    flows[1].load_state_dict(flows[0].state_dict())
    drawn = fit(tmp_path / "a", flows[0], [DensityPicture(num_points=20), SampleGrid()])
    assert torch.equal(drawn, fit(tmp_path / "b", flows[1], []))


def test_trial_runs_and_flows_over_other_events_have_none(tmp_path: Path) -> None:
    fit(tmp_path, module(), [DensityPicture()], fast_dev_run=True)
    fit_kind(tmp_path, "graph", [DensityPicture()])
    assert not (tmp_path / "density.png").exists()


def test_samples_that_do_not_converge_do_not_end_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flow = module()

    def refuse(*args: Any, **options: Any) -> None:
        raise ConvergenceError("no convergence", 1.0)

    monkeypatch.setattr(flow, "sample", refuse)
    with pytest.warns(UserWarning, match="no picture of the density in epoch 0: no convergence"):
        fit(tmp_path, flow, [DensityPicture()])


def test_wrong_intervals_are_refused() -> None:
    with pytest.raises(UsageError, match="every_n_epochs is 0"):
        DensityPicture(every_n_epochs=0)
