"""Cost of the callbacks that monitor training: ``python benchmarks/monitoring.py`` prints their share of the time.

The demo's flow takes 40 steps of 32 random images, logging everything in each step, then validates one batch. The time
in the callbacks' hooks, measured by Lightning's profiler in the same run, is divided by that of the steps.
"""

import statistics
import tempfile
import warnings

import torch
from lightning.pytorch import Callback, LightningDataModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.profilers import SimpleProfiler
from models import SHAPE, build
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_flows.callbacks import BoundMonitor, Dashboard, LatentHistogram, OptimizerMonitor, RoundTrip
from lightning_flows.data.datasets import ImageDataset

STEPS, BATCH = 40, 32


class Noise(LightningDataModule):
    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        images = torch.randint(256, (BATCH * STEPS, *SHAPE), dtype=torch.uint8)
        return DataLoader(ImageDataset(images), batch_size=BATCH)

    def val_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        return self.train_dataloader()


def main() -> None:
    warnings.filterwarnings("ignore")
    callbacks: list[Callback] = [Dashboard(), OptimizerMonitor(), BoundMonitor(), RoundTrip(), LatentHistogram()]
    module = build("demo.yaml")
    with tempfile.TemporaryDirectory() as folder:
        profiler = SimpleProfiler(folder, "profile")
        trainer = Trainer(
            accelerator="cpu", max_epochs=1, callbacks=callbacks, log_every_n_steps=1, gradient_clip_val=1.0,
            logger=TensorBoardLogger(folder, default_hp_metric=False), num_sanity_val_steps=0, limit_val_batches=1,
            enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False, profiler=profiler,
        )  # fmt: skip
        trainer.fit(module, Noise())
    seconds = profiler.recorded_durations
    steps = seconds["run_training_batch"]
    print(f"a training step: {statistics.median(steps):.3f} seconds")
    for callback in callbacks:
        name = type(callback).__name__
        hooks = {key.rpartition(".")[2]: sum(seconds[key]) for key in list(seconds) if f"[Callback]{name}." in key}
        in_steps = sum(value for hook, value in hooks.items() if hook.endswith(("_batch_start", "_batch_end", "_step")))
        print(f"{name}: {in_steps / sum(steps):.2%} of a step that is logged", end="")
        print(f", after a validation {hooks['on_validation_epoch_end'] / statistics.median(steps):.2f} steps")


if __name__ == "__main__":
    main()
