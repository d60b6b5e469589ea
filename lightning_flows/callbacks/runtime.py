"""Runtime of training steps."""

import json
import resource
import statistics
import sys
import time
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer

from lightning_flows import __version__
from lightning_flows.callbacks.base import run_folder
from lightning_flows.files import replaced
from lightning_flows.training.measures import device_name

CONDITIONS = (
    "num_devices", "device", "precision", "torch", "lightning_flows", "compiled", "recompute", "data_batch_size",
    "accumulate_grad_batches",
)  # fmt: skip
"""What the time of a step depends on, apart from the sizes of the model and its images."""
SAMPLING = ("sample_seconds_per_image", "sample_cpu_seconds_per_image")
"""What SampleGrid measures."""


class RuntimeMonitor(Callback):
    """Time training steps once per run, without data loading and warm-up, and measure memory after each epoch.

    A step is one of the optimizer, with all batches over which its gradient is accumulated. The first ``skip_steps``
    steps are not timed; the device is synchronized before and after each batch of the next ``num_steps``, and not after
    that. Logs ``runtime/train_step_seconds`` and ``runtime/images_per_second`` of this process, medians, and after each
    epoch ``runtime/peak_memory_mib``. Saves them in ``runtime.json`` in the run's folder, with the times per sample
    measured by SampleGrid, the number of items in a step, device and versions. Peak memory, there in bytes, is that of
    tensors on a GPU, and of the process on a CPU; ``cpu_seconds`` is the CPU time of all cores, evaluation included. On
    a CPU, ``train_step_cpu_seconds`` is the mean of training steps over the run without the first ``skip_steps``, which
    other processes hardly affect. A resumed run adds its CPU time, including that of an interrupted epoch, and its peak
    memory is that of the last process. Other measurements are kept if devices, precision, versions and the options on
    which the time of a step depends are the same; otherwise they are discarded and measured again.

    Args:
        skip_steps: steps at the start of a run that are not timed.
        num_steps: number of steps to time.

    >>> from contextlib import chdir
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from lightning.pytorch.loggers import CSVLogger
    >>> from lightning_flows import AutoregressiveFlow, VectorFlowModule
    >>> from lightning_flows.app.default_trainer import default_trainer
    >>> from lightning_flows.data import ToyDataModule
    >>> options = {"max_epochs": 1, "enable_checkpointing": False, "enable_model_summary": False}
    >>> with TemporaryDirectory() as folder, chdir(folder):
    ...     trainer = default_trainer(callbacks=[RuntimeMonitor(skip_steps=0)], logger=CSVLogger("."), **options)
    ...     trainer.fit(VectorFlowModule((2,), AutoregressiveFlow), ToyDataModule(steps_per_epoch=1))
    ...     sorted(json.loads(next(Path().rglob("runtime.json")).read_text()))[:3]
    ['accumulate_grad_batches', 'batch_size', 'compiled']
    """

    def __init__(self, skip_steps: int = 3, num_steps: int = 20) -> None:
        self.skip_steps, self.num_steps = skip_steps, num_steps
        self._reset()

    def _reset(self) -> None:
        self._results: dict[str, float] = {}
        self._conditions: dict[str, Any] = {}
        self._cpu_start: float | None = None  # until training starts

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        self._reset()

    def state_dict(self) -> dict[str, Any]:
        self._update()
        return self._results | self._conditions

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        known = (
            "train_step_seconds", "images_per_second", "batch_size", "cpu_seconds", "train_step_cpu_seconds",
            "num_steps", *SAMPLING,
        )  # fmt: skip
        self._results = {name: state_dict[name] for name in known if isinstance(state_dict.get(name), int | float)}
        self._conditions = {name: state_dict.get(name) for name in CONDITIONS}

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        conditions = _conditions(trainer, pl_module)
        if conditions != self._conditions:  # a mean over two of them would describe neither
            self._results = {name: value for name, value in self._results.items() if name == "cpu_seconds"}
        self._conditions, self._on_cpu = conditions, pl_module.device.type == "cpu"
        self._seconds: list[float] = []
        self._sizes: list[int] = []
        self._num_seen, self._num_logged = 0, 0
        self._steps = int(self._results.get("num_steps", 0))
        self._steps_cpu = self._steps * self._results.get("train_step_cpu_seconds", 0.0)
        self._cpu_start = time.process_time() - self._results.get("cpu_seconds", 0.0)

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        self._begin_step(trainer)

    def _begin_step(self, trainer: Trainer) -> None:
        """Begin a step, of as many batches as its gradient is accumulated over."""
        self._taken, self._step_seconds, self._step_cpu, self._batch_size = trainer.global_step, 0.0, 0.0, 0

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        timed = self.skip_steps <= self._num_seen < self.skip_steps + self.num_steps
        self._start = _now(pl_module.device) if timed else None
        self._batch_cpu_start = time.process_time()

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._step_cpu += time.process_time() - self._batch_cpu_start
        if self._start is not None:
            self._step_seconds += _now(pl_module.device) - self._start
            self._batch_size += pl_module.batch_size_of(batch)
        if trainer.global_step == self._taken:
            return
        if self._num_seen >= self.skip_steps:
            self._steps_cpu += self._step_cpu
            self._steps += 1
        if self._start is not None:
            self._seconds.append(self._step_seconds)
            self._sizes.append(self._batch_size)
        self._num_seen += 1
        self._begin_step(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: Any) -> None:
        self._update()
        self._cpu_start = None

    def _update(self) -> None:
        """Update what is measured over the whole run."""
        if self._cpu_start is None:
            return
        self._results["cpu_seconds"] = time.process_time() - self._cpu_start
        if self._on_cpu and self._steps:
            self._results |= {"num_steps": self._steps, "train_step_cpu_seconds": self._steps_cpu / self._steps}
        if self._seconds:
            step, size = statistics.median(self._seconds), int(statistics.median(self._sizes))
            self._results |= {"train_step_seconds": step, "images_per_second": size / step, "batch_size": size}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        memory = _peak_memory(pl_module.device)
        pl_module.log("runtime/peak_memory_mib", memory / 2**20, rank_zero_only=True)
        self._update()
        if len(self._seconds) > self._num_logged:
            self._num_logged = len(self._seconds)
            for name in ("train_step_seconds", "images_per_second"):
                pl_module.log(f"runtime/{name}", self._results[name], rank_zero_only=True)
        for name in SAMPLING:
            if (seconds := trainer.callback_metrics.get(f"runtime/{name}")) is not None:
                self._results[name] = float(seconds)
        if trainer.fast_dev_run or not trainer.is_global_zero:  # type: ignore[attr-defined]
            return  # a trial run writes no files
        record = self._conditions | self._results | {"peak_memory_bytes": memory}
        with replaced(run_folder(trainer) / "runtime.json") as file:
            file.write(f"{json.dumps(record, indent=2)}\n".encode())


def _conditions(trainer: Trainer, pl_module: Any) -> dict[str, Any]:
    values = (
        trainer.world_size,
        device_name(pl_module.device),
        str(trainer.precision),
        str(torch.__version__),  # a subclass of str that safe loading refuses
        __version__,
        getattr(getattr(pl_module, "compiled_terms", None), "backend", None),
        any(getattr(module, "recompute", None) for module in pl_module.modules()),
        getattr(trainer.datamodule, "hparams", {}).get("batch_size"),  # type: ignore[attr-defined]
        trainer.accumulate_grad_batches,
    )
    return dict(zip(CONDITIONS, values, strict=True))


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _now(device: torch.device) -> float:
    """Synchronize the device, then return the time in seconds."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
