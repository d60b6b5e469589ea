from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from lightning_flows.callbacks.base import ValidationItems, every, run_folder
from lightning_flows.errors import UsageError
from lightning_flows.modules.monitored import is_due
from tests.callbacks.test_monitors import events, fit


@pytest.mark.parametrize(("steps", "due"), [(1, [0, 1, 2, 3, 4, 5]), (3, [2, 5]), (7, []), (0, [])])
def test_every_nth_step_is_due(steps: int, due: list[int]) -> None:
    trainers = [SimpleNamespace(log_every_n_steps=steps, global_step=step) for step in range(6)]
    assert [trainer.global_step for trainer in trainers if is_due(trainer)] == due


class Asks(Callback):
    """Record due steps."""

    def __init__(self) -> None:
        self.due: list[int] = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer) -> None:
        if is_due(trainer):
            self.due.append(trainer.global_step)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_due_steps_are_those_that_lightning_writes(tmp_path: Path, steps: int) -> None:
    asks = Asks()
    fit(tmp_path, "graph", [asks], max_epochs=3, log_every_n_steps=steps)  # six steps
    assert asks.due == [event.step for event in events(tmp_path).Scalars("train/nll")]


def test_the_interval_in_epochs() -> None:
    assert [every(1), every(7)] == [1, 7]
    for num in (0, -1):
        with pytest.raises(UsageError, match=f"every_n_epochs is {num}: use at least 1"):
            every(num)


@pytest.mark.parametrize("logger", ["none", "csv", "tensorboard"])
def test_run_folder_equals_lightnings_without_a_collective_call(
    logger: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loggers = {"none": False, "csv": CSVLogger(tmp_path), "tensorboard": TensorBoardLogger(tmp_path, name="a")}
    trainer = Trainer(logger=loggers[logger], default_root_dir=tmp_path / "root", accelerator="cpu")
    expected = Path(trainer.log_dir)
    monkeypatch.setattr(trainer.strategy, "broadcast", lambda *args, **kwargs: pytest.fail("asked the other ranks"))
    assert run_folder(trainer) == expected


def test_curves_in_a_subfolder_do_not_move_the_run(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path, name="a", version=3, sub_dir="curves")
    keeper = ModelCheckpoint(tmp_path / "elsewhere")
    trainer = Trainer(logger=logger, callbacks=[keeper], accelerator="cpu")
    assert run_folder(trainer) == tmp_path / "a/version_3"


@pytest.mark.parametrize("options", [{"is_global_zero": False}, {"sanity_checking": True}])
def test_items_are_not_kept_on_other_ranks_and_in_the_sanity_check(options: dict[str, bool]) -> None:
    callback = ValidationItems(2)
    look(callback, 1.0, **options)
    assert callback.take() is None


def test_the_first_items_of_a_validation_are_taken_once() -> None:
    callback = ValidationItems(2)
    for value in (1.0, 2.0):
        look(callback, value)
        look(callback, 9.0, batch_idx=1)
        assert torch.equal(callback.take()["image"], torch.full((2, 1), value))
        assert callback.take() is None


def look(callback: ValidationItems, value: float, batch_idx: int = 0, **options: bool) -> None:
    trainer = SimpleNamespace(**{"is_global_zero": True, "sanity_checking": False} | options)
    callback.on_validation_batch_end(trainer, None, None, {"image": torch.full((3, 1), value)}, batch_idx)
