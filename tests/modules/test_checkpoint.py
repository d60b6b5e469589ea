"""Checkpoints whose arguments describe a larger model than their weights."""

import re
from pathlib import Path

import pytest
import torch

from lightning_flows.app.cli import main, run
from lightning_flows.errors import FlowsError
from lightning_flows.modules.checkpoint import load_model


@pytest.fixture(params=[("hidden_channels", 3000), ("steps_per_level", 10**9), ("num_levels", 10**12)])
def huge(request: pytest.FixtureRequest, trained: Path, tmp_path: Path) -> Path:
    whole = torch.load(trained, weights_only=True)
    name, value = request.param
    whole["lightning_flows"]["model"]["init_args"]["flow"]["init_args"][name] = value
    torch.save(whole, tmp_path / "a.ckpt")
    return tmp_path / "a.ckpt"


def test_a_model_far_larger_than_its_weights_is_not_built(huge: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = "far larger than the weights|multiples of 18446744073709551616"
    with pytest.raises(FlowsError, match=message):
        load_model(huge)
    with pytest.raises(SystemExit):
        main(["test", f"--ckpt_path={huge}"])
    assert re.search(message, capsys.readouterr().err)


def test_an_evaluation_ignores_the_loops_of_a_checkpoint(trained: Path, tmp_path: Path) -> None:
    whole = torch.load(trained, weights_only=True)
    whole["loops"]["test_loop"]["batch_progress"]["total"] = torch.tensor(0.0)
    torch.save(whole, tmp_path / "a.ckpt")
    assert "test/bpd" in run(["test", f"--ckpt_path={tmp_path / 'a.ckpt'}"]).trainer.callback_metrics
