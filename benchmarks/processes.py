"""Training images per second on several processes, and the share of a step that data loading takes.

Usage: python benchmarks/processes.py [--devices 1 2 4] [--steps 12] [--batch_size 64] [--repeats 3]

The flow of csf_small.yaml on augmented 3x32x32 images in memory; batch_size is the total over all processes. Each run
is a separate process, one at a time; medians over repeats. A step is timed from the end of the previous one.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from models import SHAPE, build

from lightning_flows.app.default_trainer import default_trainer
from lightning_flows.data import ImageDataModule
from lightning_flows.data.datasets import ImageDataset

WARMUP = 3


class Noise(ImageDataModule):
    """Random images in memory."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return SHAPE

    def load_split(self, split: str) -> ImageDataset:
        images = torch.randint(256, (4096 if split == "train" else 8, 3, 32, 32), dtype=torch.uint8)
        return ImageDataset(images, torch.zeros(len(images)), names=["noise"] * len(images))


class Clock(Callback):
    """Times steps, and the time within them until the model receives its batch."""

    def __init__(self) -> None:
        self.steps: list[float] = []
        self.loading: list[float] = []
        self._end = 0.0

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.loading.append(time.perf_counter() - self._end)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = time.perf_counter()
        self.steps.append(now - self._end)
        self._end = now


def train(devices: int, batch_size: int, steps: int) -> None:
    """Train; the first process prints the medians."""
    seed_everything(0, verbose=False)
    clock = Clock()
    trainer = default_trainer(
        accelerator="cpu",
        devices=devices,
        strategy="ddp" if devices > 1 else "auto",
        max_steps=steps + WARMUP,
        limit_val_batches=0,
        callbacks=[clock],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(build("csf_small.yaml"), Noise(batch_size=batch_size // devices))
    if trainer.is_global_zero:
        step = statistics.median(clock.steps[WARMUP:])
        share = sum(clock.loading[WARMUP:]) / sum(clock.steps[WARMUP:])
        print(json.dumps({"rate": batch_size / step, "share": share}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--devices", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--train", type=int, default=0, help="used internally: train once on this many processes")
    options = parser.parse_args()
    if options.train:
        train(options.train, options.batch_size, options.steps)
        return
    cores = os.cpu_count() or 1
    found: dict[int, list[dict[str, float]]] = {devices: [] for devices in options.devices}
    for _ in range(options.repeats):
        for devices in options.devices:
            command = [sys.executable, __file__, f"--train={devices}", f"--steps={options.steps}"]
            threads = {"OMP_NUM_THREADS": str(max(1, cores // devices))}
            output = subprocess.run(
                [*command, f"--batch_size={options.batch_size}"],
                env=os.environ | threads, check=True, capture_output=True, text=True,
            ).stdout  # fmt: skip
            found[devices].append(json.loads(output.splitlines()[-1]))
    print(f"{cores} cores, batch {options.batch_size} of all processes together\n")
    print("| processes | threads each | images per second | loading, % of a step |\n|---|---|---|---|")
    for devices, results in found.items():
        rate, share = (statistics.median(result[key] for result in results) for key in ("rate", "share"))
        print(f"| {devices} | {max(1, cores // devices)} | {rate:.1f} | {100 * share:.2f} |")


if __name__ == "__main__":
    main()
