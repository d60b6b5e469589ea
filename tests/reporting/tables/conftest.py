import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

MODEL = "lightning_flows.modules.mixing.MixingFlow"
DATA = {"class_path": "lightning_flows.data.SamplePhotosDataModule", "init_args": {"batch_size": 8}}


@pytest.fixture
def write_run(tmp_path: Path) -> Callable[..., Path]:
    """Write a run folder as ``fit`` and ``test`` leave it."""

    def write(
        name: str, *, mixing: str = "conv1x1", seed: int = 0, bpd: float = 4.0, runtime: Any = None, **others: Any
    ) -> Path:
        folder = tmp_path / name / "version_0"
        folder.mkdir(parents=True)
        trainer = {"max_epochs": others.pop("max_epochs", 4), "logger": {"init_args": {"name": name}}}
        model = others.get("model", {"class_path": MODEL, "init_args": {"mixing": mixing, "width": 8}})
        config = {"seed_everything": seed, "model": model, "data": DATA, "trainer": trainer}
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        test = {
            "metrics": {"test/bpd": bpd, "test/nll_bpd": bpd - 0.1, "test/importance_samples": 5.0},
            "model": model, "data": DATA, "num_parameters": 1_234_567, "num_items": 104,
            "global_step": 20, "checkpoint": "best.ckpt",
            "torch": "2.0", "time": 1.0,
        } | others  # fmt: skip
        (folder / "tests.jsonl").write_text(json.dumps(test) + "\n")
        if runtime is not None:
            (folder / "runtime.json").write_text(json.dumps(runtime))
        return folder

    return write
