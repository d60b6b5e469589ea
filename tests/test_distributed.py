"""Several processes train and test like one, have equal models, and exit together."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_flows.modules import read_checkpoint
from tests.distributed_runs import image_flow, vae
from tests.versions import needs_averages

ROOT = Path(__file__).parents[1]
TRAINED = ["2", "4", "vae/2", pytest.param("average/2", marks=needs_averages)]
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


def state(runs: Path, devices: str, rank: int) -> dict[str, torch.Tensor]:
    return torch.load(runs / devices / f"{rank}.pt", weights_only=True)


@pytest.mark.parametrize("devices", TRAINED)
def test_all_ranks_are_equal_bit_for_bit(runs: Path, devices: str) -> None:
    first = state(runs, devices, 0)
    for rank in range(1, int(devices.rpartition("/")[2])):
        for name, value in state(runs, devices, rank).items():
            assert torch.equal(value, first[name]), (rank, name)


@pytest.mark.parametrize("devices", [2, 4])
def test_no_step_broadcasts_buffers(runs: Path, devices: int) -> None:
    assert (runs / f"{devices}.txt").read_text() == "0"


@pytest.mark.parametrize("devices", TRAINED)
def test_training_equals_one_process_with_the_whole_batch(runs: Path, devices: str) -> None:
    untrained = vae() if devices.startswith("vae") else image_flow()
    alone, together = state(runs, f"{devices[:-1]}1", 0), state(runs, devices, 0)
    for name, value in alone.items():
        torch.testing.assert_close(together[name], value, rtol=0, atol=1e-12)  # in float64
    initial = {name: value for name, value in untrained.state_dict().items() if name.endswith("bias")}
    assert max((alone[name] - value).abs().max() for name, value in initial.items()) > 1e-3


@needs_averages
def test_the_average_is_not_the_last_weights(runs: Path) -> None:
    average, last = state(runs, "average/1", 0), state(runs, "1", 0)
    assert max((average[name] - value).abs().max() for name, value in last.items() if name.endswith("bias")) > 1e-3


@pytest.mark.parametrize("devices", ["2", "3", "4"])
def test_test_results_do_not_depend_on_the_number_of_processes(runs: Path, devices: str) -> None:
    results = json.loads((runs / "tests.json").read_text())
    assert {"test/bpd", "test/nll_bpd", "graphs/test/nll", "graphs/test/gap", "vae/test/nll_bpd"} <= results["1"].keys()
    assert results[devices] == pytest.approx(results["1"], rel=0, abs=1e-6)


def test_results_of_items_do_not_depend_on_the_number_of_processes(runs: Path) -> None:
    records = [json.loads(line) for line in (runs / "tests.jsonl").read_text().splitlines()]
    assert [record["num_items"] for record in records] == [37] * 4
    assert len({record["items"]["digest"] for record in records}) == 1
    found = [np.load(runs / record["items"]["file"]) for record in records]
    for arrays, record in zip(found, records, strict=True):
        assert arrays["index"].tolist() == list(range(37))
        assert arrays["nll_bpd"].mean() == pytest.approx(record["metrics"]["test/nll_bpd"], rel=1e-9)
        np.testing.assert_allclose(arrays["loss"], found[0]["loss"], rtol=0, atol=1e-5)


def start(tiny: list[str], folder: Path, *options: str) -> subprocess.Popen[str]:
    """Train on two processes through the command line until there is a checkpoint."""
    command = [sys.executable, "-m", "lightning_flows", "fit", *tiny, "--config=ddp4.yaml", "--trainer.devices=2"]
    process = subprocess.Popen(
        [*command, f"--trainer.logger.init_args.save_dir={folder}", "--trainer.max_epochs=1000", *options],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        text=True,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    while process.poll() is None and not (folder / "demo/version_0/checkpoints/last.ckpt").exists():
        time.sleep(0.2)
    return process


def end(process: subprocess.Popen[str]) -> tuple[int, list[str]]:
    """Exit status within a minute, and the lines of errors."""
    _, errors = process.communicate(timeout=60)
    return process.returncode, [line for line in errors.splitlines() if line.startswith(("error", "stopped", "Trace"))]


def test_a_killed_process_ends_the_run(tiny: list[str], tmp_path: Path) -> None:
    process = start(tiny, tmp_path)
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(child), signal.SIGKILL)
    status, lines = end(process)
    assert status in (1, -signal.SIGKILL)  # Lightning also ends the first process if the other is gone
    if status == 1:
        (line,) = lines
        assert "another process of this run exited or does not respond: rerun the" in line
        assert json.loads((tmp_path / "demo/version_0/run.json").read_text())["state"] == "failed"
    read_checkpoint(tmp_path / "demo/version_0/checkpoints/last.ckpt")


def test_all_processes_stop_on_a_signal_and_the_same_command_resumes(tiny: list[str], tmp_path: Path) -> None:
    process = start(tiny, tmp_path)
    process.terminate()
    status, (line,) = end(process)
    assert status == 0
    step = read_checkpoint(tmp_path / "demo/version_0/checkpoints/last.ckpt")["global_step"]
    assert f"stopped after step {step}, as requested" in line
    epochs = step // 3 + 2  # of three steps each
    again = start(tiny, tmp_path, f"--trainer.max_epochs={epochs}")
    assert end(again) == (0, [])
    assert read_checkpoint(tmp_path / "demo/version_0/checkpoints/last.ckpt")["global_step"] == 3 * epochs
    lines = [json.loads(line) for line in (tmp_path / "demo/version_0/curves.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "train/bpd" in line] == list(range(3 * epochs))  # no gap, and one rank


def test_non_finite_numbers_are_reported_once(tiny: list[str], tmp_path: Path) -> None:
    status, lines = end(start(tiny, tmp_path, "--optimizer.lr=1e30"))
    assert status == 1
    assert len(lines) == 1
    assert lines[0].startswith("error: expected finite log-probabilities in training")
