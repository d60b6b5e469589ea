"""Curves of an untrusted run folder."""

import math
from pathlib import Path

import pytest

from lightning_flows.reporting.tables import curve_file
from lightning_flows.reporting.tables.curve_file import CURVES, curve_line, read_curve_file


def written(folder: Path, *lines: str) -> Path:
    (folder / CURVES).write_text("".join(f"{line}\n" for line in lines))
    return folder


def test_curves_are_in_the_order_of_steps_and_repeated_steps_count_once(tmp_path: Path) -> None:
    lines = [
        curve_line(step, {"epoch": 0, "val/bpd": value}) for step, value in ((5, 1.0), (9, 8.0), (2, 4.0), (9, 3.0))
    ]
    scalars = read_curve_file(written(tmp_path, *lines))
    assert scalars.curves["val/bpd"] == [(2, 4.0), (5, 1.0), (9, 3.0)]
    assert scalars.curves["epoch"] == [(2, 0.0), (5, 0.0), (9, 0.0)]
    assert scalars.problems == []


def test_a_loss_that_is_not_finite_is_read_back(tmp_path: Path) -> None:
    written(tmp_path, curve_line(0, {"a": math.inf}), curve_line(1, {"a": math.nan}))
    (_, first), (_, second) = read_curve_file(tmp_path).curves["a"]
    assert first == math.inf
    assert math.isnan(second)


def test_without_a_file_there_are_no_curves_and_no_problems(tmp_path: Path) -> None:
    assert read_curve_file(tmp_path) == curve_file.Scalars()


@pytest.mark.parametrize(
    "line",
    [
        "", "nothing", '{"step": 1, "a": 2',
        "[1, 2]", '{"a": 2.0}', '{"step": -1, "a": 2.0}', '{"step": 1.5, "a": 2.0}',
        '{"step": true, "a": 2.0}', '{"step": 1, "a": true}', '{"step": 1, "a": "2"}', '{"step": 1, "a": [2]}',
        '{"step": 1, "a": null}', f'{{"step": 1{"0" * 30}, "a": 1}}', f'{{"step": 1, "a": 1{"0" * 400}}}',
        '{"step": 1, "a": 2, "b": "' + "x" * 3000 + '"}', "[" * 4000, "\udce4",
    ],
)  # fmt: skip
def test_damaged_lines_are_skipped_and_counted(tmp_path: Path, line: str) -> None:
    (tmp_path / CURVES).write_text(f'{{"step": 0, "a": 1}}\n{line}\n{{"step": 2, "a": 3}}\n', errors="surrogateescape")
    scalars = read_curve_file(tmp_path)
    assert scalars.curves == {"a": [(0, 1.0), (2, 3.0)]}
    assert scalars.problems == ["curves.jsonl has damaged lines (1, the first is line 2), which are skipped"]


def test_long_lines_are_damaged(tmp_path: Path) -> None:
    scalars = read_curve_file(written(tmp_path, f'{{"step": 0, {" " * 5000} "a": 1}}', curve_line(1, {"a": 2.0})))
    assert scalars.curves == {"a": [(1, 2.0)]}
    assert "damaged lines (2, the first is line 1)" in scalars.problems[0]


def test_long_files_are_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curve_file, "MAX_LINES", 2)
    written(tmp_path, *(curve_line(step, {"a": 1.0}) for step in range(3)))
    scalars = read_curve_file(tmp_path)
    assert scalars.curves == {"a": [(0, 1.0), (1, 1.0)]}
    assert scalars.problems == ["curves.jsonl has more than 2 lines: its curves end there"]


def test_a_file_elsewhere_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    written(tmp_path, curve_line(0, {"a": 1.0}))
    (tmp_path / "run" / CURVES).symlink_to(tmp_path / CURVES)
    scalars = read_curve_file(tmp_path / "run")
    assert scalars.curves == {}
    assert "is a link out of its folder" in scalars.problems[0]
