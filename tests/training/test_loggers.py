"""Images, histograms and tables in TensorBoard, Weights & Biases and MLflow."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from PIL import Image

from lightning_flows.training.loggers import MediaLogger, media_loggers
from tests.callbacks.test_monitors import events

IMAGES = {
    1: torch.arange(12, dtype=torch.uint8).reshape(1, 3, 4),
    3: torch.arange(36, dtype=torch.uint8).reshape(3, 3, 4),
}
VALUES, COLUMNS, ROWS = torch.linspace(-1, 2, 100), ["level", "mean"], [[1, 0.5], [2, -0.25]]


class Calls:
    """Record what is called, with all arguments."""

    def __init__(self) -> None:
        self.made: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **options: self.made.append((name, args, options))


class ImitatedRun(WandbLogger):
    """The methods of the logger that are used, without its package."""

    def __init__(self) -> None:
        self.calls = Calls()
        for name in ("log_image", "log_metrics", "log_table", "log_hyperparams"):
            setattr(self, name, getattr(self.calls, name))


class ImitatedExperiment(MLFlowLogger):
    """The client of the logger, without its package."""

    experiment, run_id = property(lambda self: self.calls), property(lambda self: "id")

    def __init__(self) -> None:
        self.calls = Calls()
        self.log_hyperparams = self.calls.log_hyperparams


def one(logger: Logger) -> MediaLogger:
    ((_, found),) = media_loggers([logger])
    return found


def fill(media: MediaLogger, step: int) -> None:
    for channels, image in IMAGES.items():
        media.image(f"images_{channels}", image, step)
    media.histogram("group/values", VALUES, step)
    media.table("moments", COLUMNS, ROWS, step)
    media.hyperparameters({"data": "Toy", "data.batch_size": 8})


def test_loggers_of_numbers_alone_are_skipped(tmp_path: Path) -> None:
    loggers = [CSVLogger(tmp_path), ImitatedExperiment(), TensorBoardLogger(tmp_path), ImitatedRun()]
    assert [name for name, _ in media_loggers(loggers)] == ["MLflow", "TensorBoard", "Weights & Biases"]


def test_tensorboard(tmp_path: Path) -> None:
    fill(one(logger := TensorBoardLogger(tmp_path, "", "")), 7)
    logger.finalize("success")  # a thread of its own writes the events
    found = events(tmp_path)
    assert [(event.step, event.width, event.height) for event in found.Images("images_3")] == [(7, 4, 3)]
    assert found.Histograms("group/values")[0].histogram_value.num == 100
    (text,) = found.Tensors("moments/text_summary")
    assert text.tensor_proto.string_val[0].decode() == "| level | mean |\n| --- | --- |\n| 1 | 0.5 |\n| 2 | -0.25 |"


def test_wandb_gets_images_histograms_tables_and_hyperparameters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(Histogram=lambda values: ("histogram", len(values))))
    fill(one(logger := ImitatedRun()), 7)
    (_, image, _), (_, color, _), histogram, table, parameters = logger.calls.made
    assert image[0] == "images_1"
    assert np.array_equal(np.asarray(image[1][0]), IMAGES[1][0])
    assert np.array_equal(np.asarray(color[1][0]), IMAGES[3].permute(1, 2, 0))
    assert histogram == ("log_metrics", ({"group/values": ("histogram", 100)}, 7), {})
    assert table == ("log_table", ("moments", COLUMNS, ROWS), {"step": 7})
    assert parameters[1] == ({"data": "Toy", "data.batch_size": 8},)
    assert logger.calls.made[0][2] == {"step": 7}


def test_mlflow_gets_images_artifacts_and_hyperparameters() -> None:
    fill(one(logger := ImitatedExperiment()), 7)
    (_, image, options), (_, color, _), (_, histogram, _), table, parameters = logger.calls.made
    assert image[0] == "id"
    assert np.array_equal(np.asarray(image[1]), IMAGES[1][0])
    assert np.array_equal(np.asarray(color[1]), IMAGES[3].permute(1, 2, 0))
    assert options == {"key": "images_1", "step": 7}
    assert histogram[2] == "group/values/step_00000007.json"
    assert sum(histogram[1]["counts"]) == 100
    assert (histogram[1]["edges"][0], histogram[1]["edges"][-1]) == (-1, 2)
    expected = ("id", {"level": [1, 2], "mean": [0.5, -0.25]}, "moments/step_00000007.json")
    assert table == ("log_table", expected, {})
    assert parameters[1] == ({"data": "Toy", "data.batch_size": 8},)


@pytest.fixture
def _offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")  # WandbLogger sets it, and leaves it set
    monkeypatch.setenv("WANDB_SILENT", "true")


@pytest.fixture
def wandb_logger(_offline: None, tmp_path: Path) -> Iterator[WandbLogger]:
    wandb = pytest.importorskip("wandb")
    yield WandbLogger("name", tmp_path, offline=True)
    wandb.finish()


def test_the_real_wandb(wandb_logger: WandbLogger, tmp_path: Path) -> None:
    for step in (7, 8):
        fill(one(wandb_logger), step)
    assert wandb_logger.experiment.config["data.batch_size"] == 8
    (files,) = tmp_path.glob("wandb/offline-run-*/files/media")
    tables = [json.loads(path.read_text()) for path in files.glob("table/moments_*.json")]
    assert [(table["columns"], table["data"]) for table in tables] == [(COLUMNS, ROWS)] * 2
    with Image.open(next(files.glob("images/images_3_*.png"))) as image:
        assert np.array_equal(np.asarray(image), IMAGES[3].permute(1, 2, 0))


def test_the_real_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.chdir(tmp_path)
    logger = MLFlowLogger(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db", artifact_location=str(tmp_path / "artifacts"))
    for step in (7, 8):
        fill(one(logger), step)
    assert logger.experiment.get_run(logger.run_id).data.params["data.batch_size"] == "8"
    folder = tmp_path / "artifacts" / logger.run_id / "artifacts"
    for step in (7, 8):
        table = json.loads((folder / f"moments/step_0000000{step}.json").read_text())
        assert (table["columns"], table["data"]) == (COLUMNS, ROWS)
        assert sum(json.loads((folder / f"group/values/step_0000000{step}.json").read_text())["counts"]) == 100
        (path,) = folder.glob(f"images/images_1?step?{step}?*.png")
        with Image.open(path) as image:
            assert np.array_equal(np.asarray(image), IMAGES[1][0])
