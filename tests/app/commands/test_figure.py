"""Every figure renders without a display."""

import shutil
import tarfile
from pathlib import Path

import pytest
import torch
from PIL import Image

from lightning_flows.app.cli import main
from lightning_flows.app.commands.drawings import DRAWINGS
from lightning_flows.app.commands.figure import NUMBERS, OTHERS
from lightning_flows.app.commands.trained import load_rows
from tests.data.test_fashion_mnist import write_idx
from tests.test_files import full_disk


@pytest.fixture(scope="module")
def trained_graphs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoint of a tiny flow over graphs."""
    folder = tmp_path_factory.mktemp("graphs")
    options = ["--model.flow.width=8", "--data.batch_size=4", "--data.steps_per_epoch=2", "--data.num_val=8"]
    options += ["--trainer.max_epochs=1", "--trainer.enable_progress_bar=false", "--trainer.callbacks=ModelCheckpoint"]
    configs = ["--config=model/graph_coupling.yaml", "--config=data/mog.yaml"]
    main(["fit", *configs, *options, f"--trainer.logger.init_args.save_dir={folder}"])
    return next(folder.rglob("*.ckpt"))


@pytest.fixture(scope="module")
def trained_moons(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoint of a tiny flow over points in the plane."""
    folder = tmp_path_factory.mktemp("moons")
    options = ["--model.flow.width=8", "--data.batch_size=16", "--data.steps_per_epoch=2", "--data.num_val=8"]
    options += ["--trainer.max_epochs=1", "--trainer.enable_progress_bar=false", "--trainer.callbacks=ModelCheckpoint"]
    main(["fit", "--config=moons.yaml", *options, f"--trainer.logger.init_args.save_dir={folder}"])
    return next(folder.rglob("*.ckpt"))


def draw(tmp_path: Path, name: str, *options: str) -> Path:
    out = tmp_path / "figure.png"
    main(["figure", name, f"--out={out}", "--dpi=40", *options])
    return out


def error(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    with pytest.raises(SystemExit) as exit_info:
        main(["figure", *args])
    assert exit_info.value.code == 1
    return capsys.readouterr().err


def shows_something(path: Path) -> bool:
    with Image.open(path) as image:
        return min(image.size) > 40 and len(image.convert("RGB").getcolors(1 << 20)) > 10


FROM_NOTHING = ["1", "2", "3", "4"]
FROM_IMAGES = ["4", "5", "interpolation", "nearest"]


def test_every_figure_is_drawn() -> None:
    drawn = {NUMBERS.get(name, name) for name in (*FROM_NOTHING, *FROM_IMAGES, "outliers", "graphs", "density")}
    assert drawn == set(DRAWINGS) == {*NUMBERS.values(), *OTHERS}


@pytest.mark.parametrize("name", [*FROM_NOTHING, "exponential_matrix"])
def test_figures_of_the_paper_need_no_checkpoint(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    out = draw(tmp_path, name)
    assert shows_something(out)
    assert f"figure: {out}" in capsys.readouterr().out


@pytest.mark.parametrize(("suffix", "start"), [("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_the_suffix_determines_the_format(suffix: str, start: bytes, tmp_path: Path) -> None:
    main(["figure", "2", f"--out={tmp_path}/figure.{suffix}"])
    assert (tmp_path / f"figure.{suffix}").read_bytes().startswith(start)


@pytest.mark.parametrize("name", FROM_IMAGES)
def test_figures_of_a_trained_flow(name: str, trained: Path, tmp_path: Path) -> None:
    num = [] if name == "4" else ["--num=2"]
    assert shows_something(draw(tmp_path, name, f"--ckpt_path={trained}", *num))


def test_outliers_print_their_table(
    trained: Path, image_tar: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = draw(tmp_path, "outliers", f"--ckpt_path={trained}", "--num=12", f"--outliers={image_tar}")
    assert shows_something(out)
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert [line.split(" | ")[0] for line in table[2:]] == ["| in distribution", "| images", "| constant", "| noise"]
    assert all(line.split(" | ")[1] == "12" for line in table[2:])
    assert 3 < float(table[2].split(" | ")[2]) < 10  # bits per dimension


def test_outliers_of_any_name_are_a_set_of_their_own(
    trained: Path,
    image_tar: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = {"training": "training", "noise": "noise (--outliers)", "in distribution": "in distribution (--outliers)"}
    tables = []
    for name, shown in names.items():
        shutil.copy(image_tar, path := tmp_path / f"{name}.tar")
        (tmp_path / "figure.png").unlink(missing_ok=True)
        draw(tmp_path, "outliers", f"--ckpt_path={trained}", "--num=12", f"--outliers={path}")
        head, _, table = capsys.readouterr().out.partition("\n\n")
        rows = [line.split(" | ") for line in table.splitlines() if line.startswith("|")][2:]
        assert [row[0] for row in rows] == ["| in distribution", f"| {shown}", "| constant", "| noise"]
        tables.append((head, [row[1:] for row in rows]))
    assert tables[0] == tables[1] == tables[2]
    (tmp_path / "mine").mkdir()
    with tarfile.open(image_tar) as tar:
        tar.extractall(tmp_path / "mine", filter="data")
    monkeypatch.chdir(tmp_path / "mine")
    draw(tmp_path, "outliers", f"--ckpt_path={trained}", "--num=12", "--outliers=.", "--overwrite")
    assert "| mine | 12 |" in capsys.readouterr().out


def test_images_replace_the_checkpoints_data(trained: Path, image_tar: Path, tmp_path: Path) -> None:
    assert shows_something(draw(tmp_path, "nearest", f"--ckpt_path={trained}", "--num=1", f"--images={image_tar}"))


def test_fashion_mnist_is_converted_to_the_shape_of_the_data(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file, num in (("train", 12), ("t10k", 4)):
        path = tmp_path / "FashionMNIST" / "raw" / file
        write_idx(path.with_name(f"{file}-images-idx3-ubyte"), torch.full((num, 28, 28), 200))
        write_idx(path.with_name(f"{file}-labels-idx1-ubyte"), torch.arange(num) % 10)
    draw(tmp_path, "outliers", f"--ckpt_path={trained}", "--num=6", f"--fashion_mnist={tmp_path}")
    assert "| Fashion-MNIST | 4 |" in capsys.readouterr().out


@pytest.mark.parametrize(("num", "rows"), [(3, 1), (1, 0)])
def test_interpolation_uses_all_available_pairs(
    num: int, rows: int, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for split, count in {"train": 2, "val": 1, "test": num}.items():
        (tmp_path / "images" / split).mkdir(parents=True)
        for i in range(count):
            Image.effect_noise((32, 32), 80).convert("RGB").save(tmp_path / "images" / split / f"{i}.png")
    options = [f"--ckpt_path={trained}", f"--images={tmp_path}/images", "--num=4"]
    if rows:
        assert shows_something(draw(tmp_path, "interpolation", *options))
    else:
        message = error(capsys, "interpolation", f"--out={tmp_path}/figure.png", *options)
        assert "needs at least two test images, not 1" in message


def test_graphs(trained_graphs: Path, tmp_path: Path) -> None:
    assert shows_something(draw(tmp_path, "graphs", f"--ckpt_path={trained_graphs}", "--num=8"))


def test_density(trained_moons: Path, tmp_path: Path) -> None:
    assert shows_something(draw(tmp_path, "density", f"--ckpt_path={trained_moons}", "--num=50"))


@pytest.mark.parametrize("name", ["samples", "interpolation", "nearest", "outliers", "graphs", "density"])
def test_missing_and_wrong_checkpoints(
    name: str, trained: Path, trained_graphs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = f"--out={tmp_path}/figure.png"
    kinds = {"graphs": "graphs", "density": "vectors", "outliers": "a flow over images"}
    kind = kinds.get(name, "images")
    other = trained if name == "graphs" else trained_graphs
    assert f"the figure {name} needs a checkpoint of {kind}: pass --ckpt_path FILE" in error(capsys, name, out)
    message = error(capsys, name, out, f"--ckpt_path={other}")
    assert f"the figure {name} needs a checkpoint of {kind}, and the " in message
    assert f"of {other} has events" in message
    assert not list(tmp_path.iterdir())


def test_a_flow_without_exponentials_is_refused(
    trained_graphs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = error(capsys, "4", f"--out={tmp_path}/figure.png", f"--ckpt_path={trained_graphs}")
    assert "has no convolution exponentials" in message


def test_invalid_arguments(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = error(capsys, "7")
    assert "7 is not a figure" in message
    assert all(f"{number} ({name})" in message for number, name in NUMBERS.items())
    assert ".jpg" in error(capsys, "1", f"--out={tmp_path}/figure.jpg")
    existing = tmp_path / "figure.png"
    existing.write_text("precious")
    assert str(existing) in error(capsys, "1", f"--out={existing}")
    assert existing.read_text() == "precious"
    assert "--num 0 is not allowed" in error(capsys, "1", f"--out={tmp_path}/a.png", "--num=0")
    assert "nowhere.ckpt" in error(capsys, "4", f"--out={tmp_path}/a.png", "--ckpt_path=nowhere.ckpt")


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_no_file_remains_on_a_full_disk(suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / f"out/figure.{suffix}"
    with full_disk():
        output = error(capsys, "2", f"--out={out}")
    assert "could not be written (" in output
    assert "rerun the command" in output
    assert not list(out.parent.iterdir())
    main(["figure", "2", f"--out={out}"])
    assert [path.name for path in out.parent.iterdir()] == [out.name]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seed=1180591620717411303424"], "exceeds 64 bits"),
        (["--device=xx"], "--device xx is not available"),
        (["--dpi=100000"], "exceeds the limit of 67 million"),
        (["--temperature=-1"], "--temperature -1.0 is not allowed"),
    ],
)
def test_options_out_of_range(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = error(capsys, "2", f"--out={tmp_path}/out/a.png", *options)
    assert message in output
    assert output.count("\n") == 1
    assert not list(tmp_path.glob("out/*"))


@pytest.mark.parametrize("name", ["samples", "nearest", "outliers", "graphs"])
def test_samples_that_exceed_memory_are_refused(
    name: str, trained: Path, trained_graphs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = trained_graphs if name == "graphs" else trained
    options = [f"--ckpt_path={checkpoint}", f"--out={tmp_path}/a.png", "--num=1000000000000"]
    assert "use a smaller --num" in error(capsys, name, *options)


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("1", "--num=5"), ("1", "--ckpt_path=nowhere.ckpt"), ("4", "--temperature=0.5"), ("5", "--images=nowhere"),
        ("samples", "--data.root=nowhere"), ("interpolation", "--temperature=0.5"), ("nearest", "--outliers=nowhere"),
        ("density", "--images=nowhere"), ("graphs", "--fashion_mnist=nowhere"),
        ("1", "--model=nowhere.Model"), ("samples", "--data=nowhere.Data"),
    ],
)  # fmt: skip
def test_options_without_effect_are_refused(
    name: str, option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = "--data.OPTION" if option.startswith("--data.") else option.partition("=")[0]
    assert f"error: {given} has no effect on the figure" in error(capsys, name, option, f"--out={tmp_path / 'a.png'}")


def test_points_come_from_as_many_batches_as_needed(trained_moons: Path) -> None:
    path = str(trained_moons)
    rows = load_rows(path, 50, options={"eval_batch_size": 8})
    assert len(rows) == 50
    assert torch.equal(rows, load_rows(path, 60)[:50])
