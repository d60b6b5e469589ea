"""Checkpoint files are complete or unchanged."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from lightning_flows.errors import OutputError
from lightning_flows.training.checkpoint_io import AtomicCheckpointIO

WRITE = """
import sys, torch
from lightning_flows.training.checkpoint_io import AtomicCheckpointIO
for i in range(10**6):
    AtomicCheckpointIO().save_checkpoint({"i": i, "x": torch.full((300_000,), float(i))}, sys.argv[1])
    print(i, flush=True)
"""
FULL = """
import resource, signal, sys, torch
from lightning_flows.training.checkpoint_io import AtomicCheckpointIO
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then writing beyond the limit fails as on a full disk
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
AtomicCheckpointIO().save_checkpoint({"x": torch.ones(300_000)}, sys.argv[1])
"""


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "new/a.ckpt"
    AtomicCheckpointIO().save_checkpoint({"x": torch.ones(3)}, path)
    assert torch.equal(torch.load(path, weights_only=True)["x"], torch.ones(3))
    assert [file.name for file in path.parent.iterdir()] == ["a.ckpt"]


def test_the_file_survives_a_kill_while_writing(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    process = subprocess.Popen([sys.executable, "-c", WRITE, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "0\n"
    time.sleep(0.1)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    checkpoint = torch.load(path, weights_only=True)
    assert (checkpoint["x"] == checkpoint["i"]).all()


def test_a_full_disk_keeps_the_previous_file(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    AtomicCheckpointIO().save_checkpoint({"x": torch.zeros(3)}, path)
    result = subprocess.run(
        [sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, check=False, cwd=Path.cwd()
    )
    assert result.returncode == 1
    assert "could not be written (File too large): nothing was changed; free some space" in result.stderr
    assert torch.equal(torch.load(path, weights_only=True)["x"], torch.zeros(3))
    assert [file.name for file in tmp_path.iterdir()] == ["a.ckpt"]


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"a\.ckpt could not be written \((Not a dir|File ex)"):
        AtomicCheckpointIO().save_checkpoint({}, tmp_path / "file/a.ckpt")


def test_a_pickling_error_is_not_a_disk_error(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    with pytest.raises(Exception, match="pickle") as info:
        AtomicCheckpointIO().save_checkpoint({"x": lambda: 0}, path)
    assert not isinstance(info.value, OSError)
    assert not list(tmp_path.iterdir())
