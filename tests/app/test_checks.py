"""Settings that are refused before anything is built."""

import json
from pathlib import Path

import pytest

from lightning_flows.app import checks
from lightning_flows.app.cli import run
from lightning_flows.errors import UsageError


@pytest.mark.parametrize(("name", "package"), [("WandbLogger", "wandb"), ("MLFlowLogger", "mlflow")])
@pytest.mark.parametrize("several", [False, True])
def test_the_package_of_a_logger_is_named(
    name: str, package: str, several: bool, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(checks.importlib.util, "find_spec", lambda name: None)
    logger = json.dumps([{"class_path": "CSVLogger", "init_args": {"save_dir": "."}}, {"class_path": name}])
    with pytest.raises(
        UsageError, match=f"^{name} needs {package}, which is not installed: run `pip install {package}`$"
    ):
        run(["fit", *tiny, f"--trainer.logger={logger if several else name}"])
    assert not list(tmp_path.iterdir())


def test_mlflow_needs_a_place(tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(checks.importlib.util, "find_spec", lambda name: object())
    with pytest.raises(UsageError, match="MLFlowLogger has no tracking_uri: pass --trainer"):
        run(["fit", *tiny, "--trainer.logger=MLFlowLogger"])
    assert not list(tmp_path.iterdir())
