"""Runs that are stopped at a chosen moment, and their comparison with an uninterrupted one."""

import os
import signal
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_flows.app.default_trainer import default_trainer
from lightning_flows.callbacks.interruptible import Interrupted
from lightning_flows.data import ImageDataModule
from lightning_flows.data.datasets import ImageDataset
from tests.small_modules import SMALL_VARIATIONAL, image_module
from tests.versions import WEIGHTS_ONLY

STEPS, VAL_BATCHES, EPOCHS = 5, 3, 3
CURRENT_AND_AVERAGE = ("current_model_state", "state_dict")  # of a checkpoint with a moving average


class Noise(ImageDataModule):
    """Random images: 5 augmented training batches and 3 validation batches, the last one smaller."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return 1, 8, 8

    def load_split(self, split: str) -> ImageDataset:
        num = 20 if split == "train" else 10
        images = torch.randint(256, (num, 1, 8, 8), generator=torch.Generator().manual_seed(num), dtype=torch.uint8)
        return ImageDataset(images, torch.zeros(num), names=[str(i) for i in range(num)])


class Ask(Callback):
    """Send a signal to this process in one training step, or in one validation batch."""

    def __init__(self, where: str, epoch: int, batch: int, number: int = signal.SIGTERM) -> None:
        self.moment, self.number = (where, epoch, batch), number

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        self._ask("train", trainer.current_epoch, batch_idx)

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0) -> None:
        self._ask("val", trainer.current_epoch, batch_idx)

    def _ask(self, *moment) -> None:
        if moment == self.moment:
            os.kill(os.getpid(), self.number)


def fit(
    folder: Path, *callbacks: Callback, num_workers: int = 0, steps_per_epoch: int | None = None, **options
) -> Trainer:
    """Train in a folder, resuming from its last.ckpt if there is one."""
    seed_everything(0, verbose=False)
    module = image_module(dequantization=SMALL_VARIATIONAL)
    best = ModelCheckpoint(folder, monitor="val/loss", save_last=True, filename="best", enable_version_counter=False)
    trainer = default_trainer(
        max_epochs=EPOCHS,
        accelerator="cpu",
        logger=TensorBoardLogger(folder, name="", version="log"),
        log_every_n_steps=1,
        callbacks=[*callbacks, best],
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    last = folder / "last.ckpt"
    data = Noise(batch_size=4, eval_batch_size=4, num_workers=num_workers, steps_per_epoch=steps_per_epoch)
    trainer.fit(module, data, ckpt_path=last if last.exists() else None, **WEIGHTS_ONLY)
    return trainer


def stop(folder: Path, *callbacks: Callback, **options) -> int | None:
    with pytest.raises(Interrupted) as info:
        fit(folder, *callbacks, **options)
    return info.value.code


def curves(folder: Path) -> dict[str, dict[int, float]]:
    """Curves of all event files of a run; a step logged twice must have the same value."""
    found: dict[str, dict[int, float]] = {}
    for file in sorted((folder / "log").glob("events*")):
        events = EventAccumulator(str(file)).Reload()
        for tag in ("train/bpd", "val/bpd"):
            curve = found.setdefault(tag, {})
            for event in events.Scalars(tag) if tag in events.Tags()["scalars"] else []:
                assert curve.setdefault(event.step, event.value) == event.value, (tag, event.step)
    return found


def assert_equal(one: object, other: object, path: str = "") -> None:
    if isinstance(one, dict):
        assert one.keys() == other.keys(), path
        for key in one:
            assert_equal(one[key], other[key], f"{path}/{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), path
        for i, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_equal(a, b, f"{path}/{i}")
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other), path
    else:
        assert one == other, path


def assert_same_run(folder: Path, whole: Path) -> None:
    """Assert equal model, optimizer, schedule and counts in the checkpoints, and equal curves."""
    for name in ("last.ckpt", "best.ckpt"):
        expected, got = (torch.load(path / name, weights_only=True) for path in (whole, folder))
        for key in ("state_dict", "optimizer_states", "lr_schedulers", "global_step", "epoch"):
            assert_equal(expected[key], got[key], f"{name}/{key}")
    assert curves(folder) == curves(whole)
