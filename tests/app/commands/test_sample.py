import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_flows.app.cli import main
from lightning_flows.app.commands.sample import sample
from lightning_flows.checkpoints import describe
from lightning_flows.data import GraphMoGDataModule
from lightning_flows.errors import OutputError, UsageError
from lightning_flows.flows import Flow
from lightning_flows.modules import FlowModule
from tests.small_modules import graph_module
from tests.test_files import full_disk

PATH = [[0, 1, 0, 0], [1, 0, 1, 0], [0, 1, 0, 1], [0, 0, 1, 0]]


def save(module: FlowModule, path: Path, **data: Any) -> str:
    """Checkpoint of an untrained flow over graphs."""
    record = {"model": describe(module), "data": describe(GraphMoGDataModule(num_val=2, num_test=2, **data))}
    torch.save({"state_dict": module.state_dict(), "lightning_flows": record}, path)
    return str(path)


@pytest.fixture
def graphs(tmp_path: Path) -> str:
    """Checkpoint of graphs of one or three nodes, in a row."""
    return save(graph_module(), tmp_path / "graphs.ckpt", sizes=[1, 3], adjacency=PATH)


def draw(checkpoint: str | Path, out: Path, **options: Any) -> np.ndarray:
    image = sample(str(checkpoint), str(out.with_suffix(".png")), npy=True, device="cpu", **options)
    assert image == out.with_suffix(".png")
    assert image.read_bytes().startswith(b"\x89PNG")
    return np.load(out.with_suffix(".npy"))


def test_samples_are_reproducible_and_depend_on_seed_and_temperature(trained: Path, tmp_path: Path) -> None:
    def draw(name: str, *options: str) -> np.ndarray:
        main(["sample", f"--ckpt_path={trained}", f"--out={tmp_path / name}.png", "--num=5", "--npy", *options])
        assert (tmp_path / f"{name}.png").is_file()
        return np.load(tmp_path / f"{name}.npy")

    first = draw("a")
    assert first.shape == (5, 3, 32, 32)
    assert first.dtype == np.uint8
    assert (first == draw("b")).all()
    assert (first != draw("c", "--seed=1")).any()
    assert (draw("cold", "--temperature=0")[0] == draw("colder", "--temperature=0", "--seed=3")[1]).all()


def test_accuracy_is_passed_on_and_checked(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    decode = Flow.decode

    def recorded(self: Flow, *args: Any, **options: Any) -> torch.Tensor:
        asked.append(options["accuracy"])
        return decode(self, *args, **options)

    monkeypatch.setattr(Flow, "decode", recorded)
    command = ["sample", f"--ckpt_path={trained}", f"--out={tmp_path / 'a.png'}", "--num=2", "--overwrite=true"]
    for options in ([], ["--accuracy=exact"], ["--accuracy=0.5"]):
        main([*command, *options])
    assert asked == [None, "exact", 0.5]
    for value, fact in (("0", "expected an --accuracy above 0"), ("1e-6", "float32 cannot represent values up to 256")):
        with pytest.raises(SystemExit, match="1"):
            main([*command, f"--accuracy={value}"])
        assert capsys.readouterr().err.splitlines()[-1].startswith(f"error: {fact}")


def test_graphs_are_reproducible_and_depend_on_the_seed(graphs: str, tmp_path: Path) -> None:
    first, again, other = (draw(graphs, tmp_path / f"{i}", num=20, seed=seed) for i, seed in enumerate((0, 0, 1)))
    assert first.shape == (20, 4, 2)
    np.testing.assert_array_equal(first, again)
    assert not (first == other).any()
    assert (np.isnan(first) != np.isnan(other)).any()  # sizes depend on it as well


def test_sizes_and_modes_are_independent_of_the_batch_size(graphs: str, tmp_path: Path) -> None:
    """The number of samples, the sizes of graphs and, without noise, their nodes, which depend on their edges."""
    whole, parts, one_by_one = (
        draw(graphs, tmp_path / f"{size}", num=7, batch_size=size, temperature=0.0) for size in (64, 3, 1)
    )
    assert len(whole) == 7
    for other in (parts, one_by_one):
        np.testing.assert_allclose(other, whole, rtol=0, atol=1e-5)
    assert set((~np.isnan(whole)).any(-1).sum(1)) == {1, 3}


def test_each_graph_is_decoded_with_its_own_edges_and_size(graphs: str, tmp_path: Path) -> None:
    """Without noise, a row of three nodes has equal ends and a different middle; a single node differs from both."""
    nodes = draw(graphs, tmp_path / "a", num=20, batch_size=6, temperature=0.0)
    rows = nodes[~np.isnan(nodes[:, 2, 0]), :3]
    lone = nodes[np.isnan(nodes[:, 2, 0]), 0]
    np.testing.assert_allclose(rows[:, 0], rows[:, 2], rtol=0, atol=1e-5)
    assert np.abs(rows[:, 0] - rows[:, 1]).max() > 1e-4
    assert np.abs(rows[0, 1] - lone).max() > 1e-4


@pytest.mark.parametrize("suffix", ["png", "npy"])
def test_existing_files_are_kept(suffix: str, graphs: str, tmp_path: Path) -> None:
    existing = tmp_path / f"a.{suffix}"
    existing.write_text("precious")
    with pytest.raises(OutputError, match=rf"a\.{suffix} exists: choose another file"):
        sample(graphs, str(tmp_path / "a.png"), npy=True, device="cpu")
    assert existing.read_text() == "precious"
    assert {path.name for path in tmp_path.iterdir()} == {"graphs.ckpt", existing.name}


@pytest.mark.parametrize("options", [{"num": 0}, {"batch_size": 0}, {"temperature": -0.1}])
def test_numbers_are_checked_before_reading(options: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--\w+ \S+ is not allowed: use a number of at least [01]"):
        sample("nowhere.ckpt", str(tmp_path / "a.png"), **options)


def test_non_finite_samples_are_reported_without_padding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module = graph_module()
    with torch.no_grad():
        module.model.levels[0].transforms[0].log_scale.fill_(1000)
    nodes = draw(save(module, tmp_path / "inf.ckpt", sizes=[3]), tmp_path / "a", num=5, batch_size=2)
    assert not np.isfinite(nodes).any()
    assert f"{5 * 3 * 2} sampled values are not finite" in capsys.readouterr().out


def test_other_kinds_of_files_are_refused(graphs: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"run_0\.5 is not a PNG or CSV file"):
        sample(graphs, str(tmp_path / "run_0.5"))
    with pytest.raises(UsageError, match=r"a CSV file is for rows, and the model has events of shape \(4, 2\)"):
        sample(graphs, str(tmp_path / "a.csv"))
    with pytest.raises(UsageError, match=r"a\.csv contains the samples already: omit --npy"):
        sample(graphs, str(tmp_path / "a.csv"), npy=True)
    assert [path.name for path in tmp_path.iterdir()] == ["graphs.ckpt"]


@pytest.mark.parametrize("size", [0, 4096])
@pytest.mark.parametrize("kind", ["images", "graphs"])
def test_no_file_remains_on_a_full_disk(
    kind: str, size: int, trained: Path, graphs: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["sample", f"--ckpt_path={trained if kind == 'images' else graphs}", f"--out={tmp_path}/out/a.png"]
    options += ["--num=400", "--npy=true", "--device=cpu", "--batch_size=400"]
    with full_disk(size), pytest.raises(SystemExit):
        main(options)
    output = capsys.readouterr().err
    assert "a.npy could not be written (" in output
    assert "rerun the command" in output
    assert "last" not in output
    assert not list((tmp_path / "out").iterdir())
    main(options)  # the same command is not refused then
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.npy", "a.png"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(143), MemoryError()])
def test_no_file_remains_if_stopped_while_writing(
    error: BaseException, graphs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*args: Any) -> None:
        raise error

    monkeypatch.setattr(np, "save", stop)
    with pytest.raises(type(error)):
        sample(graphs, str(tmp_path / "out/a.png"), npy=True, device="cpu")
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": 2**70}, "--seed 1180591620717411303424 exceeds 64 bits"),
        ({"seed": -(2**64)}, "--seed -.* exceeds 64 bits"),
        ({"temperature": float("nan")}, "--temperature nan is not allowed"),
        ({"device": "xx"}, r"--device xx is not available \(.*\): omit it, or use cpu"),
        ({"device": "cuda:99"}, "--device cuda:99 is not available"),
        ({"device": "meta"}, "--device meta is not available"),
        ({"num": 10**15}, r"10{15} samples of shape \(4, 2\) need at least .* GiB, .*: use a smaller --num"),
        ({"num": 10**15, "batch_size": 10**15}, r"10{15} .*: use a smaller --batch_size"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], message: str, graphs: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message) as error:
        sample(graphs, str(tmp_path / "out/a.png"), **options)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.glob("out/*"))


def test_a_png_shows_the_first_samples(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.modules["lightning_flows.app.commands.sample"], "MAX_PIXELS", 4 * 34 * 34)
    assert len(draw(trained, tmp_path / "a", num=5)) == 5
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (2 * 33 + 1, 2 * 33 + 1)
    assert "shows the first 4 of 5 samples" in capsys.readouterr().out


def test_scale_enlarges_pixels_and_keeps_lines_thin(trained: Path, graphs: str, tmp_path: Path) -> None:
    array = draw(trained, tmp_path / "a", num=4, scale=3)
    assert array.shape == (4, 3, 32, 32)
    with Image.open(tmp_path / "a.png") as image:
        pixels = np.asarray(image)
    assert pixels.shape == (2 * 97 + 1, 2 * 97 + 1, 3)
    assert (pixels[98:194, 1:97].reshape(32, 3, 32, 3, 3) == array[2].transpose(1, 2, 0)[:, None, :, None]).all()
    assert (pixels[[0, 97, 194]] == 160).all()
    with pytest.raises(UsageError, match=r"--scale is for images, and .* has events of shape \(4, 2\): omit --scale"):
        sample(graphs, str(tmp_path / "b.png"), scale=2)
    with pytest.raises(UsageError, match="--scale 1000 makes a single image larger than 67108864 pixels"):
        sample(str(trained), str(tmp_path / "b.png"), scale=1000)


def test_temperatures_share_the_noise_and_have_a_file_each(trained: Path, tmp_path: Path) -> None:
    options = [f"--out={tmp_path}/a.png", "--num=3", "--npy", "--device=cpu"]
    main(["sample", str(trained), *options, "--temperature", "[0.7,1.0]"])
    names = [f"a_temperature_{each}.{kind}" for each in ("0.7", "1.0") for kind in ("npy", "png")]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    for each in (0.7, 1.0):
        alone = draw(trained, tmp_path / f"{each:g}", num=3, temperature=each)
        assert (np.load(tmp_path / f"a_temperature_{each}.npy") == alone).all()
    cold, warm = (np.load(tmp_path / f"a_temperature_{each}.npy").ravel() for each in (0.7, 1.0))
    assert np.corrcoef(cold, warm)[0, 1] > 0.8


@pytest.mark.parametrize(
    ("temperatures", "fact"), [([], "has no values"), ([1.0, 1.0], "contains the same value twice")]
)
def test_temperatures_that_would_share_a_file_are_refused(temperatures: list[float], fact: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"--temperature {fact}: pass different ones"):
        sample("nowhere.ckpt", str(tmp_path / "a.png"), temperature=temperatures)
    with pytest.raises(UsageError, match=r"--temperature -1\.0 is not allowed"):
        sample("nowhere.ckpt", str(tmp_path / "a.png"), temperature=[*temperatures, -1.0])


def test_several_temperatures_are_a_list_in_brackets(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["sample", "nowhere.ckpt", "--temperature", "0.7,1.0"])
    assert "--temperature: expected float or a list such as '[1,2]'; got 0.7,1.0" in capsys.readouterr().err


@pytest.mark.parametrize(("num", "text"), [(1, "1 sample: "), (2, "2 samples: ")])
def test_the_number_of_samples_is_printed(num: int, text: str, trained: Path, tmp_path: Path, capsys) -> None:
    sample(str(trained), str(tmp_path / "a.png"), num=num)
    assert text in capsys.readouterr().out


def test_data_of_samples_other_than_graphs_are_refused(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--data has no effect on samples other than graphs: omit it"):
        sample(str(trained), str(tmp_path / "a.png"), data="nowhere.Data")
