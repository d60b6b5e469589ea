"""All runs below a folder, complete or not."""

import pytest

from lightning_flows.errors import DataError
from lightning_flows.reporting.tables.runs import read_runs
from tests.reporting.runs import write_curve


def test_runs_are_found_with_and_without_tests(write_run, tmp_path) -> None:
    tested, untested = write_run("table1/a_seed3"), write_run("b")
    (untested / "tests.jsonl").unlink()
    write_curve(tested, {1: 4.0})
    bare, whole = read_runs(tmp_path)
    assert (bare.name, bare.experiment, bare.label) == ("b/version_0", ".", "b")
    assert (whole.name, whole.experiment, whole.label) == ("table1/a_seed3/version_0", "table1", "a")
    assert (bare.test, bare.error, bare.flow) == ({}, "", "")
    assert (whole.seed, whole.error) == (0, "")
    assert whole.scalars.curves == {"val/bpd": [(1, 4.0)]}


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("tests.jsonl", "{"), ("tests.jsonl", "[]\n"), ("tests.jsonl", "{}\n"), ("config.yaml", "a: ["),
        ("config.yaml", "- 1"), ("config.yaml", "{}"), ("config.yaml", b"\xff\xfe"), ("runtime.json", "x"),
        ("runtime.json", "[]"),
    ],
)  # fmt: skip
def test_a_broken_file_is_named_and_skipped(write_run, tmp_path, file, content) -> None:
    folder = write_run("a", runtime={})
    (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    write_curve(folder, {1: 4.0})
    (run,) = read_runs(tmp_path)
    assert run.test == {}
    assert file in run.error
    assert run.scalars.curves
    assert bool(run.config) == (file != "config.yaml")


def test_metrics_must_be_a_mapping(write_run, tmp_path) -> None:
    write_run("a", metrics=[1.0])
    (run,) = read_runs(tmp_path)
    assert "in tests.jsonl:1, metrics is list, not names with values" in run.error


def test_no_runs(tmp_path) -> None:
    with pytest.raises(DataError, match=r".*nowhere is not a folder: use the save_dir"):
        read_runs(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"there are no runs below .*: train with `fit`"):
        read_runs(tmp_path)
