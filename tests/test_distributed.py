"""Several processes: the same parameters as one, the same on each, and the same test results."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    command = [sys.executable, "-m", "tests.distributed_runs", str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        command, cwd=ROOT, env=environment, timeout=300, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr[-2000:]
    return folder


def state(runs: Path, devices: int, rank: int) -> dict[str, torch.Tensor]:
    return torch.load(runs / str(devices) / f"{rank}.pt", weights_only=True)


@pytest.mark.parametrize("devices", [2, 4])
def test_all_ranks_are_equal_to_the_bit(runs: Path, devices: int) -> None:
    first = state(runs, devices, 0)
    for rank in range(1, devices):
        for name, value in state(runs, devices, rank).items():
            assert torch.equal(value, first[name]), (rank, name)


@pytest.mark.parametrize("devices", [2, 4])
def test_twenty_steps_are_those_of_one_process_with_the_whole_batch(runs: Path, devices: int) -> None:
    alone, together = state(runs, 1, 0), state(runs, devices, 0)
    moved = 0.0
    for name, value in alone.items():
        torch.testing.assert_close(
            together[name], value, rtol=0, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
        )
        moved = max(moved, float(value.double().abs().max()) if value.numel() else 0.0)
    assert moved > 0.1


@pytest.mark.parametrize("devices", ["2", "3", "4"])
def test_a_test_set_that_no_number_of_processes_divides(runs: Path, devices: str) -> None:
    results = json.loads((runs / "tests.json").read_text())
    assert {"test/bpd", "test/nll_bpd", "graphs/test/nll", "graphs/test/gap"} <= results["1"].keys()
    assert results[devices] == pytest.approx(results["1"], rel=0, abs=1e-6)
