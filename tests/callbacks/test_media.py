"""Files in the run's folder, and a logger that fails."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from matplotlib.figure import Figure
from torchvision.io import ImageReadMode, read_image

from lightning_flows.callbacks import DensityPicture, LatentHistogram, SampleGrid
from lightning_flows.callbacks.media import log_figure, log_histogram, log_hyperparameters, log_image, log_table
from lightning_flows.errors import OutputError
from tests.callbacks.test_monitors import events, fit
from tests.training.test_loggers import ImitatedExperiment, ImitatedRun

IMAGE = torch.arange(36, dtype=torch.uint8).reshape(3, 3, 4)


def trainer(folder: Path, *loggers: Logger, trial: bool = False) -> Any:
    return SimpleNamespace(
        loggers=loggers, default_root_dir=folder, checkpoint_callbacks=[], fast_dev_run=trial, global_step=7,
        current_epoch=2,
    )  # fmt: skip


def figure() -> Figure:
    found = Figure(figsize=(2, 1))
    found.subplots().plot([0, 1], color="red")
    return found


def log_all(run: Any) -> None:
    log_image(run, "samples", IMAGE)
    log_figure(run, "density", figure())
    log_histogram(run, "latents/level_1", torch.zeros(5, requires_grad=True, dtype=torch.bfloat16))
    log_table(run, "moments", ["level", "mean"], [[1, 0.5], [2, float("nan")]])
    log_hyperparameters(run, {"data": "Toy"})


FILES = {"samples/epoch_0002.png", "density.png", "moments.csv"}


def written(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", ["none", "csv"])
def test_files_need_no_logger(tmp_path: Path, kind: str) -> None:
    folder = tmp_path if kind == "none" else tmp_path / "version_0"
    log_all(trainer(tmp_path, *([] if kind == "none" else [CSVLogger(tmp_path, "", 0)])))
    assert written(folder) == FILES
    assert torch.equal(read_image(str(folder / "samples/epoch_0002.png")), IMAGE)
    assert (folder / "moments.csv").read_text() == "level,mean\n1,0.5\n2,nan\n"


def test_every_logger_gets_everything_at_the_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(Histogram=len))
    loggers = [ImitatedRun(), TensorBoardLogger(tmp_path, "", ""), ImitatedExperiment()]
    log_all(trainer(tmp_path / "other", *loggers))
    loggers[1].finalize("success")  # a thread of its own writes the events
    assert written(tmp_path) >= FILES  # in the folder of TensorBoard, which is not the first logger
    tags = events(tmp_path).Tags()
    assert (tags["images"], tags["histograms"], tags["tensors"]) == (
        ["samples", "density"], ["latents/level_1"], ["moments/text_summary"],
    )  # fmt: skip
    assert [name for name, _, _ in loggers[0].calls.made] == [
        "log_image", "log_image", "log_metrics", "log_table", "log_hyperparams",
    ]  # fmt: skip
    assert len(loggers[2].calls.made) == 5
    found = events(tmp_path)
    shown = [*found.Images("samples"), *found.Images("density"), *found.Histograms("latents/level_1")]
    assert [event.step for event in shown] == [7, 7, 7]
    assert [call[1][-1] for call in loggers[2].calls.made[3:4]] == ["moments/step_00000007.json"]


def test_a_figure_is_the_same_in_the_file_and_in_loggers(tmp_path: Path) -> None:
    log_figure(trainer(tmp_path, logger := ImitatedExperiment()), "density", figure())
    ((_, (_, shown), _),) = logger.calls.made
    file = read_image(str(tmp_path / "density.png"), ImageReadMode.RGB)
    assert file.shape == (3, 110, 220)
    assert torch.equal(file.permute(1, 2, 0), torch.tensor(list(shown.getdata()), dtype=torch.uint8).view(110, 220, 3))


class Broken(ImitatedExperiment):
    """A logger whose server is gone."""

    @property
    def experiment(self) -> Any:
        raise ConnectionError("server is gone\nwith details")


def test_a_logger_that_fails_is_reported_and_loses_no_file(tmp_path: Path) -> None:
    board = TensorBoardLogger(tmp_path, "", "")
    with pytest.warns(UserWarning, match=r"the image samples is not in MLflow \(server is gone\); training continues"):
        log_all(trainer(tmp_path, Broken(), board))
    board.finalize("success")
    assert written(tmp_path) >= FILES
    assert events(tmp_path).Tags()["images"] == ["samples", "density"]


def test_a_file_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "density.png").mkdir()
    with pytest.raises(OutputError, match=r"density\.png"):
        log_figure(trainer(tmp_path), "density", figure())


def test_a_trial_writes_no_files(tmp_path: Path) -> None:
    log_all(trainer(tmp_path, trial=True))
    assert not written(tmp_path)


def test_what_callbacks_show_does_not_depend_on_the_logger(tmp_path: Path) -> None:
    for kind in ("sylvester", "graph"):
        fit(tmp_path / kind, kind, [SampleGrid(2), LatentHistogram(2), DensityPicture(2)], logger=False, max_epochs=1)
        assert written(tmp_path / kind) == {"samples/epoch_0000.png", "latents.png", "latent_moments.csv"}
    rows = (tmp_path / "sylvester/latent_moments.csv").read_text().splitlines()
    assert rows[0] == "level,values,mean,standard deviation"
    assert [row.split(",")[:2] for row in rows[1:]] == [["1", "64"], ["2", "64"]]


def test_packages_of_loggers_are_not_imported_unless_used() -> None:
    code = "import sys, lightning_flows.callbacks, lightning_flows.app.trainer_cli as _\n"
    code += "print({'wandb', 'mlflow'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"
