import math
from pathlib import Path

import pytest

from lightning_flows.reporting.tables import find_runs
from lightning_flows.reporting.tables.curves import (
    Crossing,
    best_step,
    crossing,
    curve_columns,
    last_improvement,
    row_curve,
    train_gap,
    validations,
    value_at,
)
from lightning_flows.reporting.tables.runs import Run
from tests.reporting.runs import RUNTIME, write_curve


def made(write_run, root: Path, name: str, curves: dict[str, dict[int, float]], seconds: float | None = 1.0) -> Run:
    """A run with curves by the number of steps taken, which Lightning logs under the step before."""
    runtime = None if seconds is None else RUNTIME | {"train_step_cpu_seconds": seconds}
    folder = write_run(name, runtime=runtime, seed=int(name[-1]))
    for i, (tag, points) in enumerate(curves.items()):
        write_curve(folder, {step - 1: value for step, value in points.items()}, tag, suffix=f".{i}")
    return next(run for run in find_runs(root) if run.folder == folder)


def falling(at_end: float, rate: float, *, end: int = 100, every: int = 10) -> dict[int, float]:
    """An exponential curve of validation losses."""
    return {step: at_end + math.exp(-rate * step) for step in range(every, end + 1, every)}


def test_a_row_is_the_mean_of_its_seeds_at_their_common_validations(write_run, tmp_path: Path) -> None:
    a = made(write_run, tmp_path, "a0", {"val/bpd": {10: 5.0, 15: math.nan, 20: 4.0}}, seconds=1.0)
    b = made(write_run, tmp_path, "a1", {"val/bpd": {10: 5.5, 20: 4.5, 30: 3.0}}, seconds=3.0)
    curve = row_curve([a, b])
    assert curve.by_step == [(10, 5.25), (20, 4.25)]
    assert (curve.low, curve.high, curve.step_seconds) == ([5.0, 4.0], [5.5, 4.5], 2.0)
    assert curve.by_time == [(20.0, 5.25), (40.0, 4.25)]
    assert row_curve([]) is row_curve([made(write_run, tmp_path, "b0", {})]) is None


@pytest.mark.parametrize("end", [{}, {20: math.inf}, {20: math.nan}])
def test_a_curve_that_does_not_reach_the_end_of_training_is_left_out(end, write_run, tmp_path: Path) -> None:
    whole = made(write_run, tmp_path, "a0", {"val/bpd": {10: 5.0, 20: 4.0}})  # tested after 20 steps
    short = made(write_run, tmp_path, "b0", {"val/bpd": {5: 6.0, 10: 5.0} | end})
    assert validations(whole) == [(10, 5.0), (20, 4.0)]
    assert validations(short) == []
    assert row_curve([short]) is None
    header, cells = curve_columns({"whole": [whole], "short": [short]})
    assert header[0] == "val bpd at 20 s"
    assert cells[0][0] == "4.000"
    assert cells[1] == ["–"] * 6


def test_interpolation_does_not_reach_beyond_the_validations() -> None:
    points = [(10, 5.0), (20, 4.0), (40, 2.0)]
    assert [value_at(points, x) for x in (10, 15, 30, 40)] == [5.0, 4.5, 3.0, 2.0]
    assert value_at(points, 9) is value_at(points, 41) is value_at([], 1) is None
    assert value_at([(10, 5.0)], 10) == 5.0


def test_crossings() -> None:
    first = [(0, 5.0), (10, 3.0), (20, 3.0)]
    assert crossing([(0, 6.0), (10, 4.0), (20, 2.0)], first) == Crossing(True, 15.0)
    assert crossing([(0, 4.0), (10, 2.0), (20, 4.0)], first) == Crossing(False, 15.0)
    assert crossing([(0, 4.0), (20, 2.0)], first) == Crossing(True, None)  # touches it
    assert crossing([(0, 4.0), (20, 2.9)], [(0, 5.0), (20, 3.0)]) == Crossing(True, None)
    assert crossing(first, first) == Crossing(False, None)
    assert crossing([(30, 1.0)], first) is None


def test_the_last_of_several_crossings_counts() -> None:
    flat = [(0, 0.0), (40, 0.0)]
    assert crossing([(0, 1.0), (10, -1.0), (20, 1.0), (30, 1.0), (40, -1.0)], flat) == Crossing(True, 35.0)


def test_columns_of_a_fast_and_of_a_slow_row(write_run, tmp_path: Path) -> None:
    """The second row ends lower, but has only half of its steps when the first one ends."""
    cheap = made(write_run, tmp_path, "a0", {"val/bpd": falling(3.0, 0.1)}, seconds=1.0)
    costly = made(write_run, tmp_path, "b0", {"val/bpd": falling(2.9, 0.02)}, seconds=2.0)
    header, ((first, *none, _, _, best), row) = curve_columns({"cheap": [cheap], "costly": [costly]})
    assert header[0] == "val bpd at 100 s"
    assert (first, none[:2], best) == ("3.000", ["–", "–"], "100")
    assert row[0] == f"{2.9 + math.exp(-1):.3f}"  # at step 50
    assert row[1:3] == ["never below", "never below"]
    assert len(row) == len(header)


def test_crossings_by_step_and_by_time_differ(write_run, tmp_path: Path) -> None:
    first = made(write_run, tmp_path, "a0", {"val/bpd": {10: 4.0, 100: 4.0}}, seconds=1.0)
    slow = made(write_run, tmp_path, "b0", {"val/bpd": {10: 5.0, 50: 3.0, 100: 2.0}}, seconds=1.5)
    assert curve_columns({"a": [first], "b": [slow]})[1][1][1:3] == ["below from step 30", "below from 45 s"]
    dear = made(write_run, tmp_path, "c0", {"val/bpd": {10: 5.0, 50: 3.0, 100: 2.0}}, seconds=4.0)
    assert curve_columns({"a": [first], "c": [dear]})[1][1][1:3] == ["below from step 30", "never below"]


def test_last_improvement_gap_to_training_and_best_step(write_run, tmp_path: Path) -> None:
    train = {step: 9.0 if step <= 90 else 3.0 for step in range(5, 101, 5)}
    val = {50: 4.0, 80: 3.0, 100: 3.2}
    run = made(write_run, tmp_path, "a0", {"val/bpd": val, "train/bpd": train})
    assert last_improvement(row_curve([run])) == pytest.approx(-0.1)
    assert train_gap([run]) == pytest.approx(-0.2)
    assert best_step([run]) == 80
    assert curve_columns({"a": [run]})[1][0][3:] == ["+0.1000", "−0.200", "80"]


def test_rows_without_curves_or_times_have_dashes(write_run, tmp_path: Path) -> None:
    bare = made(write_run, tmp_path, "a0", {}, seconds=None)
    timeless = made(write_run, tmp_path, "b0", {"val/bpd": {10: 4.0, 100: 3.0}}, seconds=None)
    header, rows = curve_columns({"bare": [bare], "timeless": [timeless]})
    assert header[0] == "val bpd at equal time"
    assert rows == [["–"] * 6, ["–", "–", "–", "−0.1111", "–", "100"]]
    assert curve_columns({})[1] == []
