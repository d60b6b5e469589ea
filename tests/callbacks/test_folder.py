"""The folder of a run, asked for on one rank alone."""

from pathlib import Path

import pytest
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from lightning_flows.callbacks.folder import run_folder


@pytest.mark.parametrize("logger", ["none", "csv", "tensorboard"])
def test_it_is_that_of_lightning_but_asks_no_other_rank(
    logger: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loggers = {"none": False, "csv": CSVLogger(tmp_path), "tensorboard": TensorBoardLogger(tmp_path, name="a")}
    trainer = Trainer(logger=loggers[logger], default_root_dir=tmp_path / "root", accelerator="cpu")
    expected = Path(trainer.log_dir)
    monkeypatch.setattr(trainer.strategy, "broadcast", lambda *args, **kwargs: pytest.fail("asked the other ranks"))
    assert run_folder(trainer) == expected
