"""Runtime of training steps and of sampling."""

import json
import resource
import statistics
import sys
import time
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only

from lightning_flows import __version__
from lightning_flows.callbacks.base import run_folder
from lightning_flows.errors import ConvergenceError
from lightning_flows.files import replaced
from lightning_flows.functional.streams import stream


class RuntimeMonitor(Callback):
    """Measure a training step and sampling, without data loading and warm-up, synchronized with the device.

    In each epoch the steps after ``skip_steps`` are timed, ``max_steps`` of them at most; after each validation
    ``num_samples`` images (or graphs) are drawn. Logs ``runtime/train_step_seconds``, ``runtime/images_per_second``
    (of this process) and ``runtime/sample_seconds_per_image``, medians, and ``runtime/peak_memory_mib``. Keeps the last
    ones in ``runtime.json`` in the run's folder, with the batch size, device, peak memory and versions they were
    measured with. Peak memory, there in bytes, is what tensors took on a GPU, and what the process took on a CPU;
    ``cpu_seconds`` is what all cores together spent on the run so far, evaluation included.

    Args:
        skip_steps: steps at the start of an epoch that are not timed.
        max_steps: steps that are timed per epoch.
        num_samples: images that are drawn; 0 leaves sampling out.
    """

    def __init__(self, skip_steps: int = 3, max_steps: int = 50, num_samples: int = 64) -> None:
        self.skip_steps, self.max_steps, self.num_samples = skip_steps, max_steps, num_samples
        self.results: dict[str, Any] = {}
        self._steps: list[float] = []
        self._cpu_start = 0.0
        self._start: float | None = None
        self._batch_size = 0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note what the process has used so far."""
        self._cpu_start = time.process_time()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Start the clock."""
        timed = self.skip_steps <= batch_idx < self.skip_steps + self.max_steps
        self._start = _now(pl_module.device) if timed else None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop the clock."""
        if self._start is not None:
            self._steps.append(_now(pl_module.device) - self._start)
            self._batch_size = len(batch["index"])
            self._start = None

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the epoch's median step."""
        if not self._steps:
            return
        step = statistics.median(self._steps)
        self._steps = []
        self.results |= {
            "train_step_seconds": step,
            "images_per_second": self._batch_size / step,
            "batch_size": self._batch_size,
        }
        pl_module.log("runtime/train_step_seconds", step, rank_zero_only=True)
        pl_module.log("runtime/images_per_second", self._batch_size / step, rank_zero_only=True)
        pl_module.log("runtime/peak_memory_mib", _peak_memory(pl_module.device) / 2**20, rank_zero_only=True)
        self._write(trainer, pl_module)

    @rank_zero_only
    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Time one drawing of images."""
        if trainer.sanity_checking or self.num_samples < 1:
            return
        generator = stream(0, "timed samples", device=pl_module.device)
        start = _now(pl_module.device)
        try:
            pl_module.sample(self.num_samples, generator=generator)
        except ConvergenceError:  # nothing was drawn, so there is nothing to time; SampleGrid tells of it
            return
        seconds = (_now(pl_module.device) - start) / self.num_samples
        self.results |= {"sample_seconds_per_image": seconds, "num_samples": self.num_samples}
        pl_module.log("runtime/sample_seconds_per_image", seconds, rank_zero_only=True)
        self._write(trainer, pl_module)

    @rank_zero_only
    def _write(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return  # a trial run writes no files
        device = pl_module.device
        name = (
            torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
        )
        record = self.results | {
            "num_devices": trainer.world_size,
            "device": name,
            "precision": str(trainer.precision),
            "cpu_seconds": time.process_time() - self._cpu_start,
            "peak_memory_bytes": _peak_memory(device),
            "torch": torch.__version__,
            "lightning_flows": __version__,
        }
        with replaced(run_folder(trainer) / "runtime.json") as file:
            file.write(f"{json.dumps(record, indent=2)}\n".encode())


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _now(device: torch.device) -> float:
    """Seconds on a clock, after the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
