import json
import shutil
from pathlib import Path

import pytest
import torch

from lightning_flows.cli import run


@pytest.fixture
def checkpoint(trained: Path, tmp_path: Path) -> Path:
    """A copy of a run folder, to write in."""
    shutil.copytree(trained.parents[1], tmp_path / "run")
    return tmp_path / "run/checkpoints/best.ckpt"


def test_results_of_tests_are_kept_beside_the_run(checkpoint: Path) -> None:
    for draws in (0, 2):
        run(["test", f"--ckpt_path={checkpoint}", f"--model.num_importance_samples={draws}"])
    lines = (checkpoint.parents[1] / "tests.jsonl").read_text().splitlines()
    first, second = (json.loads(line) for line in lines[-2:])
    assert set(first["metrics"]) == {"test/bpd", "test/bpd_standard_error"}
    assert second["metrics"]["test/importance_samples"] == 2
    assert second["model"]["class_path"].endswith(".CSF")
    assert second["model"]["init_args"]["num_importance_samples"] == 2
    assert second["data"]["class_path"].endswith(".SamplePhotos")
    assert (second["global_step"], second["num_items"], second["checkpoint"]) == (3, 104, "best.ckpt")
    assert second["num_parameters"] == sum(
        value.numel()
        for name, value in torch.load(checkpoint, weights_only=True)["state_dict"].items()
        if not name.endswith(("vector", "initialized"))
    )


def test_a_checkpoint_elsewhere_leaves_nothing(checkpoint: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone/model.ckpt"
    alone.parent.mkdir()
    shutil.move(checkpoint, alone)
    run(["test", f"--ckpt_path={alone}"])
    assert [path.name for path in alone.parent.iterdir()] == ["model.ckpt"]
    assert not list(tmp_path.glob("*.jsonl"))
