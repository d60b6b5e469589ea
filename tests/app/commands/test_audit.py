from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_flows.app.commands.audit import audit
from lightning_flows.checkpoints import describe
from lightning_flows.errors import AuditError
from lightning_flows.flows import GlowFlow, SylvesterVectorFlow
from lightning_flows.modules import VAEModule, VectorFlowModule
from lightning_flows.nets import DenseSizes
from lightning_flows.posteriors import PlanarPosterior
from lightning_flows.transforms import ActNorm
from lightning_flows.transforms.vector.standardize import Standardize, standardize_by
from tests.small_modules import graph_module, image_module, vector_module
from tests.vae.cases import EVENT, SMALL


def vae_module() -> VAEModule:
    return VAEModule(EVENT, 2, PlanarPosterior, latent_size=3, sizes=SMALL)


def save(module: Any, path: Path) -> str:
    torch.save({"state_dict": module.state_dict(), "lightning_flows": {"model": describe(module)}}, path)
    return str(path)


@pytest.mark.parametrize("build", [image_module, graph_module, vector_module, vae_module])
def test_models_of_all_kinds_pass(build: Callable[[], Any], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    audit(save(build(), tmp_path / "model.ckpt"), num=2, draws=3)
    table = capsys.readouterr().out
    assert "against autograd" in table
    assert table.count("| passed |") >= 2
    assert "FAILED" not in table


def test_the_unit_of_rows_does_not_matter(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Their round trip is in standard deviations: of incomes, an error of 1e-7 of them is more than 0.002."""
    for unit in (2e4, 1e-3):
        module = VectorFlowModule(None, SylvesterVectorFlow((2,), num_layers=1, width=8))
        standardize_by(module, torch.tensor([2.0, 0.0]) * unit, torch.tensor([1.0, 2.0]) * unit)
        audit(save(module, tmp_path / "model.ckpt"), num=20, draws=3)
        table = capsys.readouterr().out
        assert "standard deviations of the data" in table
        assert "FAILED" not in table
    with torch.no_grad():
        next(layer for layer in module.modules() if isinstance(layer, Standardize)).mean.fill_(1e7 * unit)
    with pytest.raises(AuditError):  # float32 does not resolve them
        audit(save(module, tmp_path / "model.ckpt"), num=20, draws=3)


def test_levels_with_too_many_values_are_cropped(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    audit(save(image_module(), tmp_path / "model.ckpt"), num=2, draws=2, max_values=40)
    table = capsys.readouterr().out
    assert "level 1 (1 x 8 x 8, cropped to 1 x 4 x 4): log-determinant against autograd | " in table
    assert "level 2 (2 x 4 x 4): log-determinant against autograd | " in table
    assert "not measured" not in table
    assert "FAILED" not in table


def test_a_layer_that_fixes_the_size_of_images_is_named(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    sizes = {"num_levels": 2, "steps_per_level": 1, "net": DenseSizes(4, 1, 6), "woodbury_rank": 2}
    module = image_module(flow=GlowFlow, mixing="woodbury", **sizes)
    audit(save(module, tmp_path / "model.ckpt"), num=2, draws=2, max_values=40)
    reason = "not measured: 64 values exceed max_values, and LinearCompose fixes the size of images | – |"
    assert f"level 1 (1 x 8 x 8): log-determinant against autograd | – | 1e-06 | {reason}" in capsys.readouterr().out


def test_a_wrong_log_determinant_of_a_crop_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, forward, inverse = save(image_module(), tmp_path / "model.ckpt"), ActNorm.forward, ActNorm.inverse
    monkeypatch.setattr(ActNorm, "forward", lambda *args: (forward(*args)[0], forward(*args)[1] + 0.1))
    monkeypatch.setattr(ActNorm, "inverse", lambda *args: (inverse(*args)[0], inverse(*args)[1] - 0.1))
    with pytest.raises(AuditError):
        audit(path, num=2, draws=2, max_values=40)
    failed = [row.split(" | ")[0] for row in capsys.readouterr().out.splitlines() if "FAILED" in row]
    assert "| level 1 (1 x 8 x 8, cropped to 1 x 4 x 4): log-determinant against autograd" in failed


@pytest.mark.parametrize("build", [image_module, graph_module, vector_module, vae_module])
def test_checks_are_counted(
    build: Callable[[], Any], tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightning_flows.progress.SECONDS", 0.0)
    audit(save(build(), tmp_path / "model.ckpt"), num=2, draws=2)
    captured = capsys.readouterr()
    num_rows = captured.out.count("\n") - 2
    assert captured.err.splitlines() == [f"checking: {k + 1}" for k in range(num_rows)]


def test_a_wrong_log_determinant_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, forward = save(image_module(), tmp_path / "model.ckpt"), ActNorm.forward
    monkeypatch.setattr(ActNorm, "forward", lambda *args: (forward(*args)[0], forward(*args)[1] + 0.1))
    with pytest.raises(AuditError, match=r"4 of \d+ checks of .*model.ckpt failed: see the table"):
        audit(path, num=2, draws=2)
    rows = [row for row in capsys.readouterr().out.splitlines() if "FAILED" in row]
    assert all("log-determinant against" in row for row in rows)


def test_a_norm_above_its_bound_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lightning_flows.nets import spectral_norm

    right = spectral_norm.normalize
    monkeypatch.setattr(spectral_norm, "normalize", lambda *args: 3 * right(*args))
    with pytest.raises(AuditError):
        audit(save(image_module(), tmp_path / "model.ckpt"), num=2, draws=2)
    (row,) = [row for row in capsys.readouterr().out.splitlines() if "norms" in row]
    assert "FAILED" in row
