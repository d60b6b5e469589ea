import pytest
from PIL import Image

from lightning_flows.errors import DataError
from lightning_flows.reporting.report import read_trainings
from tests.reporting.tables.test_events import write


def test_runs_are_found_with_and_without_tests(write_run, tmp_path) -> None:
    tested, untested = write_run("table1/a_seed3"), write_run("b")
    (untested / "tests.jsonl").unlink()
    write(tested, {1: 4.0})
    bare, whole = read_trainings(tmp_path)
    assert (bare.name, bare.experiment, bare.label) == ("b/version_0", ".", "b")
    assert (whole.name, whole.experiment, whole.label) == ("table1/a_seed3/version_0", "table1", "a")
    assert bare.run is None
    assert [problem.partition(":")[0] for problem in bare.problems] == ["no test", "no curves"]
    assert whole.run.seed == 0
    assert whole.problems == []
    assert whole.scalars.curves == {"val/bpd": [(1, 4.0)]}


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("tests.jsonl", "{"), ("tests.jsonl", "[]\n"), ("tests.jsonl", "{}\n"), ("config.yaml", "a: ["),
        ("config.yaml", "- 1"), ("config.yaml", "{}"), ("config.yaml", b"\xff\xfe"), ("runtime.json", "x"),
        ("runtime.json", "[]"),
    ],
)  # fmt: skip
def test_a_broken_file_is_named_and_stops_nothing(write_run, tmp_path, file, content) -> None:
    folder = write_run("a", runtime={})
    (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    write(folder, {1: 4.0})
    (training,) = read_trainings(tmp_path)
    assert training.run is None
    assert len(training.problems) == 1
    assert training.scalars.curves
    assert isinstance(training.settings, dict)


def test_metrics_of_another_form_are_named(write_run, tmp_path) -> None:
    write(write_run("a", metrics=[1.0]), {1: 4.0})
    (training,) = read_trainings(tmp_path)
    assert training.run is None
    assert "expected a whole run" in training.problems[0]


def test_a_broken_event_file_is_named(write_run, tmp_path) -> None:
    path = write(write_run("a"), {1: 4.0, 2: 3.0})
    path.write_bytes(path.read_bytes()[:-3])
    (training,) = read_trainings(tmp_path)
    assert training.scalars.curves["val/bpd"] == [(1, 4.0)]
    assert training.run is not None
    assert path.name in training.problems[0]


def test_the_newest_image(write_run, tmp_path) -> None:
    folder = write_run("a")
    assert read_trainings(tmp_path)[0].image is None
    (folder / "samples").mkdir()
    for epoch in (2, 10, 9):
        Image.new("RGB", (8, 8)).save(folder / f"samples/epoch_{epoch:04d}.png")
    assert read_trainings(tmp_path)[0].image.name == "epoch 0010"


def test_no_runs(tmp_path) -> None:
    with pytest.raises(DataError, match=r"expected a folder with runs; got .*nowhere, which is not there"):
        read_trainings(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"expected runs below .* got none: train with `fit`"):
        read_trainings(tmp_path)
