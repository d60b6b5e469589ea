"""Tables through the command line: what a person does with a CSV file, and what is refused with nothing lost."""

from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer

from lightning_flows import load_flow
from lightning_flows.app.cli import main, run
from lightning_flows.data import TableDataModule
from tests.test_bad_input import fails

SMALL = ["--model.flow.width=8", "--model.flow.components=2", "--data.batch_size=64", "--trainer.max_epochs=2"]
SMALL += ["--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu"]
NUM = 400


def rows(num: int = NUM, seed: int = 0) -> np.ndarray:
    """Numbers of different scales: b follows from a, and c is an integer."""
    generator = np.random.default_rng(seed)
    a = generator.standard_normal(num)
    b = 1000 + 20 * (a**2 + 0.1 * generator.standard_normal(num))
    return np.stack([a, b, generator.integers(0, 5, num)], axis=1).astype(np.float32)


def write(path: Path, values: np.ndarray, header: str = "a,b,c") -> Path:
    np.savetxt(path, values, fmt="%.9g", delimiter=",", header=header, comments="")
    return path


def fit(folder: Path, *options: str) -> Trainer:
    return run(
        ["fit", "--config=table.yaml", *SMALL, f"--trainer.logger.init_args.save_dir={folder}", *options]
    ).trainer


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table, and a run on it."""
    folder = tmp_path_factory.mktemp("table")
    write(folder / "my.csv", rows())
    fit(folder, f"--data.path={folder / 'my.csv'}", "--data.dequantize=c")
    return folder


@pytest.fixture
def checkpoint(folder: Path) -> Path:
    return folder / "table/version_0/checkpoints/best.ckpt"


def test_densities_are_of_the_data_in_their_own_units(folder: Path, checkpoint: Path) -> None:
    data = TableDataModule(str(folder / "my.csv"), dequantize="c")
    data.setup("fit")
    flow = load_flow(checkpoint)
    layer = flow.levels[0].transforms[0]
    assert layer.is_set
    for found, expected in zip((layer.mean, layer.std), data.moments(), strict=True):
        torch.testing.assert_close(found, expected.float())
    x = data.dataset("val").batch(torch.arange(5))["row"]
    jacobian = torch.autograd.functional.jacobian(lambda row: flow.encode(row)[0].sum(0), x)
    jacobian = torch.stack([jacobian[:, i] for i in range(len(x))]).double()
    expected = flow.latent_log_prob(flow.encode(x)).double() + torch.linalg.slogdet(jacobian).logabsdet
    torch.testing.assert_close(flow(x).double(), expected, atol=1e-3, rtol=0)


def test_the_moments_in_a_checkpoint_are_kept_when_it_is_evaluated_and_resumed(
    folder: Path, checkpoint: Path, tmp_path: Path
) -> None:
    other = write(tmp_path / "other.csv", 2 + 3 * rows(seed=1))
    mean = load_flow(checkpoint).levels[0].transforms[0].mean
    options = [f"--ckpt_path={checkpoint.with_name('last.ckpt')}", f"--data.path={other}", "--trainer.max_epochs=3"]
    trainer = run(["fit", *SMALL[:-3], *options, f"--trainer.logger.init_args.save_dir={tmp_path}"]).trainer
    assert trainer.global_step > 0
    assert torch.equal(trainer.model.model.levels[0].transforms[0].mean, mean)


def test_predictions_have_the_order_of_the_file_and_columns_are_found_by_name(
    folder: Path, checkpoint: Path, tmp_path: Path
) -> None:
    shuffled = write(
        tmp_path / "other.csv", np.concatenate([rows(), rows()[:, :1]], axis=1)[:, [2, 3, 1, 0]], "c,x,b,a"
    )
    scores = []
    for i, data in enumerate(([], [f"--data.path={shuffled}"])):
        main(["predict", f"--ckpt_path={checkpoint}", *data, f"--out={tmp_path / f'{i}.csv'}"])
        lines = (tmp_path / f"{i}.csv").read_text().splitlines()
        assert lines[0] == "index,name,log_likelihood,typicality,p_likelihood,p_typicality"
        assert len(lines) == 1 + NUM
        scores.append(np.loadtxt(lines[1:], delimiter=",")[:, 2])
    assert (scores[0] == scores[1]).all()
    data = TableDataModule(str(folder / "my.csv"), dequantize="c")
    data.setup("predict")
    exact = load_flow(checkpoint)(data.dataset("predict").batch(torch.arange(NUM))["row"])
    torch.testing.assert_close(torch.from_numpy(scores[0]).float(), exact, atol=1e-3, rtol=0)


def test_the_score_of_the_test_rows(checkpoint: Path) -> None:
    metrics = run(["test", f"--ckpt_path={checkpoint}"]).trainer.callback_metrics
    assert metrics["test/nll"] == metrics["test/loss"]
    assert metrics["test/nll_standard_error"] > 0


def test_samples_have_the_columns_of_the_table(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "samples.csv"
    main(["sample", str(checkpoint), f"--out={out}", "--num=50", "--batch_size=20", "--device=cpu"])
    lines = out.read_text().splitlines()
    assert lines[0] == "a,b,c"
    values = np.loadtxt(lines[1:], delimiter=",")
    assert values.shape == (50, 3)
    assert 900 < values[:, 1].mean() < 1100
    assert (values[:, 2] == np.round(values[:, 2])).all()
    main(["sample", str(checkpoint), f"--out={tmp_path / 'a.png'}", "--num=50", "--npy=true", "--device=cpu"])
    assert np.load(tmp_path / "a.npy").shape == (50, 3)


def test_a_single_column_and_arrays(tmp_path: Path) -> None:
    np.save(tmp_path / "my.npy", rows()[:, :1])
    trainer = fit(tmp_path, f"--data.path={tmp_path / 'my.npy'}")
    assert trainer.global_step > 0
    checkpoint = trainer.checkpoint_callback.best_model_path
    main(["sample", checkpoint, f"--out={tmp_path / 'samples.csv'}", "--num=5", "--device=cpu"])
    assert (tmp_path / "samples.csv").read_text().splitlines()[0] == "column_1"


REFUSED = {
    "text": (
        "a,label\n1,x\n2,y\n",
        "line 2, column 2 (label): 'x' is not a number: write one, or leave out the column",
    ),
    "missing": ("a,b\n1,2\n3,\n", "line 3, column 2 (b): the value is missing"),
    "nan": ("a,b\n1,2\nnan,3\n", "line 3, column 1 (a): the value is missing"),
    "empty": ("", "is empty: pass a CSV"),
    "header only": ("a,b\n", "has a header, and no rows"),
    "one row": ("a,b\n1,2\n", "has 1 row, too few to split into train, val and test"),
    "ragged": ("a,b\n1,2\n3\n", "line 3: 1 fields, and the first line has 2"),
    "many columns": (
        ",".join(["1"] * 1_000_000),
        "has a line of more than 1 MiB: use a table of at most 4,096 columns",
    ),
    "same names": ("a,a\n1,2\n3,4\n", "has several columns of the same name (a)"),
    "constant": ("a,b\n" + "".join(f"{i},7\n" for i in range(50)), "single value in the training rows (b), which have"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_leaves_nothing_behind(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, message = REFUSED[name]
    path = tmp_path / "my.csv"
    path.write_text(text)
    runs = tmp_path / "runs"
    options = [f"--data.path={path}", f"--trainer.logger.init_args.save_dir={runs}"]
    assert message in fails(capsys, ["fit", "--config=table.yaml", *SMALL, *options])
    assert not [found for found in runs.rglob("*") if found.is_file()]
    assert not list(runs.glob("*/*"))
    assert path.read_text() == text


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--data.drop=labl", "has no column labl: did you mean label?"),
        ("--data.drop=[label,labl]", "has no column labl: did you mean label?"),
        ("--data.columns=[a,x]", "has no column x: it has a, b, label"),
        ("--data.labels=label", "--data.labels is not an option"),
        (
            "--data.val_fraction=1",
            "expected --data.val_fraction and test_fraction of at least 0, and at most 1 together",
        ),
        (
            "--data.path=nowhere.csv",
            "nowhere.csv does not exist: pass a CSV, .npy, .npz or Parquet file",
        ),
        ("--data.delimiter=ab", "expected a --data.delimiter of one character; got 'ab'"),
    ],
)
def test_refused_options(option: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "my.csv", rows(), "a,b,label")
    command = ["fit", "--config=table.yaml", *SMALL, f"--data.path={path}", option]
    status = 2 if "not an option" in message else 1
    assert message in fails(
        capsys, [*command, f"--trainer.logger.init_args.save_dir={tmp_path / 'runs'}"], status=status
    )
    assert not list((tmp_path / "runs").glob("*/*"))


def test_a_path_is_required(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = fails(capsys, ["fit", "--config=table.yaml", f"--trainer.logger.init_args.save_dir={tmp_path}"])
    assert "data/table.csv does not exist: pass a CSV, .npy, .npz or Parquet file with --data.path" in message


def test_a_file_without_the_columns_of_the_model(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write(tmp_path / "other.csv", rows(), "a,bb,c")
    command = ["predict", f"--ckpt_path={checkpoint}", f"--data.path={other}", f"--out={tmp_path / 'a.csv'}"]
    assert "other.csv has no column b: did you mean bb?" in fails(capsys, command)
    assert not (tmp_path / "a.csv").exists()


def test_a_different_split_is_refused(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = fails(capsys, ["test", f"--ckpt_path={checkpoint}", "--data.test_fraction=0.3"])
    assert "the data would be split differently than in training" in message
