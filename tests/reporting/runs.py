"""Run folders as ``fit`` and ``test`` leave them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from torch.utils.tensorboard import SummaryWriter

from lightning_flows.reporting.tables.items import write_items

DATA = {"class_path": "lightning_flows.data.SamplePhotosDataModule", "init_args": {"batch_size": 8}}
RUNTIME = {
    "train_step_seconds": 2.0, "images_per_second": 16.0, "sample_seconds_per_image": 0.1, "cpu_seconds": 61.4,
    "peak_memory_bytes": 300 * 2**20, "num_devices": 1, "batch_size": 8, "device": "CPU, 2 threads",
    "precision": "32-true", "torch": "2.0", "lightning_flows": "0.4",
}  # fmt: skip


def image_model(flow: str, dequantization: str = "Uniform", **arguments: Any) -> dict[str, Any]:
    """Record of a module with a flow over images."""
    parts = {
        "flow": {"class_path": f"lightning_flows.flows.{flow}", "init_args": arguments},
        "dequantization": {"class_path": f"lightning_flows.dequantization.{dequantization}Dequantization"},
    }
    return {"class_path": "lightning_flows.modules.ImageFlowModule", "init_args": parts}


def graph_model(flow: str, **arguments: Any) -> dict[str, Any]:
    """Record of a module with a flow over graphs."""
    parts = {"flow": {"class_path": f"lightning_flows.flows.{flow}", "init_args": arguments}}
    return {"class_path": "lightning_flows.modules.GraphFlowModule", "init_args": parts}


def vae_model(posterior: str, *, latent_size: int = 64, sizes: Any = None, **arguments: Any) -> dict[str, Any]:
    """Record of a VAE."""
    parts = {"posterior": {"class_path": f"lightning_flows.posteriors.{posterior}", "init_args": arguments}}
    sizes = {"width": 32} if sizes is None else sizes
    init_args = {**parts, "latent_size": latent_size, "sizes": sizes}
    return {"class_path": "lightning_flows.modules.VAEModule", "init_args": init_args}


def write_run(
    root: Path,
    name: str,
    *,
    mixing: str = "conv1x1",
    model: dict[str, Any] | None = None,
    data: dict[str, Any] = DATA,
    seed: int = 0,
    bpd: float = 4.0,
    trainer: dict[str, Any] | None = None,
    runtime: Any = None,
    **test: Any,
) -> Path:
    """Write a run that was tested; ``test`` replaces entries of its record."""
    folder = root / name / "version_0"
    folder.mkdir(parents=True)
    model = model or image_model("GlowFlow", mixing=mixing, width=8)
    trainer = {"max_epochs": 4, "logger": {"init_args": {"name": name}}} | (trainer or {})
    config = {"seed_everything": seed, "model": model, "data": data, "trainer": trainer}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    record = {
        "metrics": {"test/bpd": bpd, "test/nll_bpd": bpd - 0.1, "test/importance_samples": 5.0},
        "model": model, "data": data, "num_parameters": 1_234_567, "num_items": 104, "global_step": 20,
        "checkpoint": "best.ckpt", "torch": "2.0", "time": 1.0,
    } | test  # fmt: skip
    (folder / "tests.jsonl").write_text(json.dumps(record) + "\n")
    if runtime is not None:
        (folder / "runtime.json").write_text(json.dumps(runtime))
    return folder


def write_curve(folder: Path, values: dict[int, float], tag: str = "val/bpd", suffix: str = "") -> Path:
    """Log a scalar for TensorBoard; return the event file."""
    with SummaryWriter(str(folder), filename_suffix=suffix) as writer:
        for step, value in values.items():
            writer.add_scalar(tag, value, step)
    (path,) = folder.glob(f"events*{suffix}")
    return path


def write_items_of(folder: Path, values: Mapping[str, np.ndarray], digest: str = "a", seed: int = 0) -> None:
    """Add results of items to the last test of a run, with their means as its metrics."""
    record = json.loads((folder / "tests.jsonl").read_text().splitlines()[-1])
    num = len(next(iter(values.values())))
    name = write_items(folder, np.arange(num), values)
    record |= {"num_items": num, "items": {"file": name, "digest": digest, "seed": seed, "num_repeated": 0}}
    record["metrics"] |= {f"test/{name}": float(each.mean()) for name, each in values.items()}
    (folder / "tests.jsonl").write_text(json.dumps(record) + "\n")
