"""Results of evaluations, printed."""

import shutil
from pathlib import Path

import pytest

from lightning_flows.app.cli import run


@pytest.fixture
def checkpoint(trained: Path, tmp_path: Path) -> Path:
    """A writable copy of a run folder."""
    shutil.copytree(trained.parents[1], tmp_path / "run")
    return tmp_path / "run/checkpoints/best.ckpt"


def test_results_are_printed(checkpoint: Path, capsys) -> None:
    for subcommand, name in (("test", "test/bpd"), ("validate", "val/bpd")):
        metrics = run([subcommand, f"--ckpt_path={checkpoint}"]).trainer.callback_metrics
        assert f"{name} " in (out := capsys.readouterr().out)
        assert {line.split()[0] for line in out.splitlines()} == set(metrics)
        assert float(out.split()[1]) == pytest.approx(metrics[out.split()[0]].item(), rel=1e-4)
