from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback

from lightning_flows.callbacks import OptimizerMonitor
from tests.callbacks.test_monitors import curve, fit


class Norms(Callback):
    """The norm of the gradient before clipping, computed directly, and the learning rate."""

    def __init__(self) -> None:
        self.norms: list[float] = []
        self.rates: list[float] = []

    def on_after_backward(self, trainer, pl_module) -> None:
        flat = torch.cat([p.grad.flatten() for p in pl_module.parameters() if p.grad is not None])
        self.norms.append(flat.square().sum().sqrt().item())
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])


def test_the_norm_is_measured_before_clipping(tmp_path: Path) -> None:
    norms = Norms()
    fit(tmp_path, "sylvester", [norms, OptimizerMonitor()])
    logged = curve(tmp_path, "optimizer/gradient_norm")
    assert logged == pytest.approx(norms.norms, rel=1e-5)
    assert min(logged) > 0.02  # it is clipped to 0.01
    assert curve(tmp_path, "optimizer/learning_rate") == pytest.approx(norms.rates)


def test_only_logged_steps_are_recorded(tmp_path: Path, monkeypatch) -> None:
    asked = []
    total = torch.nn.utils.get_total_norm
    monkeypatch.setattr(torch.nn.utils, "get_total_norm", lambda *args: asked.append(1) or total(*args))
    fit(tmp_path, "sylvester", [OptimizerMonitor()], log_every_n_steps=2)
    assert len(asked) == len(curve(tmp_path, "optimizer/gradient_norm")) == 2


def test_accumulated_gradients_are_one_step(tmp_path: Path) -> None:
    fit(tmp_path, "sylvester", [OptimizerMonitor()], accumulate_grad_batches=2)
    assert len(curve(tmp_path, "optimizer/gradient_norm")) == 2
