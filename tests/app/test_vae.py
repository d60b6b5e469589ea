"""VAEs on the command line."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lightning_flows.app.cli import main, run
from lightning_flows.modules import load_model

SMALL = [f"--model.{size}" for size in ("latent_size=4", "sizes.width=2", "sizes.features=8", "sizes.hidden=4")]
QUIET = ["--trainer.max_epochs=1", "--trainer.limit_train_batches=2", "--trainer.enable_progress_bar=false"]
FIT = ["fit", "--config=vae/digits.yaml", *SMALL, *QUIET]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Checkpoint of a VAE with planar flows, of digits in 17 levels."""
    folder = tmp_path_factory.mktemp("vae")
    posterior = ["--model.posterior=PlanarPosterior", "--model.posterior.num_flows=2"]
    main([*FIT, *posterior, f"--trainer.logger.init_args.save_dir={folder}"])
    return str(folder / "vae_digits/version_0/checkpoints/best.ckpt")


def failure(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    with pytest.raises(SystemExit):
        main(list(args))
    return capsys.readouterr().err


def test_posteriors_are_named_by_their_class_and_restored(checkpoint: str) -> None:
    posterior = load_model(checkpoint).model.posterior
    assert type(posterior).__name__ == "PlanarPosterior"
    assert posterior.num_flows == 2


def test_a_run_leaves_pictures(checkpoint: str) -> None:
    folder = Path(checkpoint).parents[1]
    for name in ("samples", "reconstructions", "latent_walk"):
        with Image.open(folder / name / "epoch_0000.png") as image:
            assert np.asarray(image).std() > 0


def test_images_in_other_levels_than_the_model_s_are_refused(
    checkpoint: str, image_tar: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The model would read 255 as a level far above its highest."""
    for name in ("nearest", "interpolation"):
        options = [f"--ckpt_path={checkpoint}", f"--out={tmp_path}/a.png", f"--images={image_tar}"]
        message = failure(capsys, "figure", name, *options)
        assert "error: --images are in 256 levels, and the model of" in message
        assert "has 17: omit --images" in message
    assert not list(tmp_path.iterdir())


def test_samples_figures_and_predictions(checkpoint: str, tmp_path: Path) -> None:
    out = str(tmp_path / "drawn.png")
    main(["sample", checkpoint, f"--out={out}", "--num=5", "--npy"])
    values = np.load(tmp_path / "drawn.npy")
    assert values.shape == (5, 1, 8, 8)
    assert 0 < values.mean() < 16
    for name in ("samples", "interpolation", "nearest"):
        main(["figure", name, f"--ckpt_path={checkpoint}", f"--out={tmp_path / name}.png", "--num=4"])
        with Image.open(tmp_path / f"{name}.png") as image:
            assert np.asarray(image).std() > 0
    scores = tmp_path / "scores.csv"
    main(["predict", f"--ckpt_path={checkpoint}", f"--out={scores}", "--model.num_importance_samples=2"])
    rows = list(csv.DictReader(scores.open()))
    assert float(rows[0]["bpd"]) == pytest.approx(-float(rows[0]["log_likelihood"]) / (64 * np.log(2)))


def test_benchmark_measures_training_and_sampling(checkpoint: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["benchmark", f"--ckpt_path={checkpoint}", "--batch_size=2", "--rounds=1", "--only=[eager]", "--device=cpu"])
    assert "VAE of 0.0" in capsys.readouterr().out


def test_the_number_of_levels_is_that_of_the_data(tmp_path: Path) -> None:
    binary = [*FIT, "--data.binarization=threshold", f"--trainer.logger.init_args.save_dir={tmp_path}"]
    model = run(binary).model
    assert (model.num_levels, model.unit) == (2, "nll")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--model.posterior=PlanrPosterior"], "PlanrPosterior, which is not a class; did you mean PlanarPosterior?"),
        (["--model.posterior=PlanarPosterior", "--model.posterior.num_flow=2"], "did you mean --model.posterior.num"),
        (["--model.posterior=SylvesterPosterior"], "columns=8 of an orthogonal Sylvester posterior exceeds latent_"),
        (["--model.num_levels=2"], "--model.num_levels is not used: it is determined by the data"),
        (["--model.sizes.width=0"], "expected --model.sizes.width of at least 1"),
    ],
)
def test_wrong_options_are_one_line(options: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert text in failure(capsys, *FIT, *options)


def test_errors_of_posteriors_name_their_help(capsys: pytest.CaptureFixture[str]) -> None:
    message = failure(capsys, *FIT, "--model.posterior=PlanrPosterior")
    assert "fit --model VAEModule --model.posterior.help CLASS` lists the options" in message
