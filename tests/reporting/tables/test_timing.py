import json
from pathlib import Path

import pytest

from lightning_flows.reporting.tables import find_runs, table1
from lightning_flows.reporting.tables.curves import curve_columns, row_curve, row_curves
from lightning_flows.reporting.tables.runs import Run
from lightning_flows.reporting.tables.timing import (
    Measure,
    alike,
    clock,
    hardware,
    kind,
    sampling_clock,
    sampling_seconds,
    step_seconds,
    times_note,
)
from tests.reporting.runs import RUNTIME, write_curve

CPU = RUNTIME | {"train_step_cpu_seconds": 1.0}
UNTIMED = {"device": "CPU, 2 threads"}


def run(**runtime) -> Run:
    return Run(Path(), Path(), runtime=runtime)


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ({"device": "H100"}, set()),
        ({"num_devices": 2}, set()),
        ({"precision": "bf16-mixed"}, set()),
        ({"compiled": "inductor"}, {hardware, sampling_clock}),
        ({"recompute": True}, {hardware, sampling_clock}),
        ({"train_step_cpu_seconds": 1.0}, {hardware, kind, sampling_clock}),
        ({"sample_cpu_seconds_per_image": 1.0}, {hardware, kind, clock}),
        ({"compiled": None, "recompute": False, "lightning_flows": "0.5"}, {hardware, kind, clock, sampling_clock}),
    ],
)
def test_what_must_agree(other, same):
    first, second = run(**RUNTIME), run(**RUNTIME | other)
    assert {key for key in (hardware, kind, clock, sampling_clock) if key(first) == key(second)} == same


def test_without_a_device_nothing_is_known():
    assert [key(run(train_step_seconds=1.0)) for key in (hardware, kind, clock, sampling_clock)] == [None] * 4
    assert clock(run(**UNTIMED)) is None
    assert kind(run(**UNTIMED)) is not None


def test_rows_are_compared_by_the_key_that_all_have():
    a, b, c = (run(device=name, train_step_seconds=1.0) for name in "ABC")
    unknown = run()
    assert alike({1: [a, b], 2: [b, c]}, hardware) == {1: [b], 2: [b]}
    assert alike({1: [a, b, b], 2: [a, b]}, hardware) == {1: [b, b], 2: [b]}  # that of the most runs
    assert alike({1: [a, unknown], 2: [b]}, hardware) == {1: [], 2: []}
    assert alike({1: [a, unknown], 2: [a, b], 3: [unknown], 4: []}, hardware) == {
        1: [a, unknown], 2: [a], 3: [unknown], 4: [],
    }  # fmt: skip
    assert alike({1: [unknown]}, hardware) == {1: [unknown]}
    assert alike({}, hardware) == {}


def test_runs_without_the_value_do_not_count():
    rows = {1: [run(**UNTIMED), run(**UNTIMED), run(device="H100", train_step_seconds=2.0)], 2: [run(**UNTIMED)]}
    assert Measure(step_seconds, kind).of(rows) == {1: [2.0], 2: []}


def test_times_are_cpu_times_if_recorded():
    assert step_seconds(run(**RUNTIME)) == RUNTIME["train_step_seconds"]
    assert step_seconds(run(**CPU)) == 1.0
    assert step_seconds(run()) is step_seconds(run(train_step_seconds=0.0)) is sampling_seconds(run()) is None
    assert sampling_seconds(run(**RUNTIME)) == RUNTIME["sample_seconds_per_image"]
    assert sampling_seconds(run(**RUNTIME, sample_cpu_seconds_per_image=0.5)) == 0.5


def test_the_note_names_the_runs_whose_times_are_shown():
    cpu, gpu = run(**RUNTIME), run(**RUNTIME | {"device": "H100"})
    assert times_note({1: [cpu], 2: [cpu, run()]}) == times_note({}) == ""
    expected = "Times are those of the 2 of 3 runs that were timed in the same way, on 1 x H100."
    assert times_note({1: [cpu, gpu], 2: [gpu]}) == expected
    assert times_note({1: [cpu], 2: [gpu]}).startswith("Times are left out, because the rows have no runs that were")


def test_curves_by_time_are_those_of_runs_timed_alike(write_run, tmp_path):
    """The curve is the mean of all seeds; the time of a step is that on the device that both rows have."""
    devices = {"a0": "H100", "a1": "CPU", "b0": "CPU", "c0": "TPU"}
    for i, (name, device) in enumerate(devices.items()):
        runtime = CPU | {"device": device, "train_step_cpu_seconds": 10.0**i}
        write_curve(write_run(name, seed=int(name[1]), runtime=runtime), {9: 5.0 - i, 19: 4.0 - i})
    a0, a1, b0, c0 = find_runs(tmp_path)
    curves = row_curves({"a": [a0, a1], "b": [b0]})
    assert curves["a"].by_time == [(100.0, 4.5), (200.0, 3.5)]
    assert curves["b"].by_time == [(1000.0, 3.0), (2000.0, 2.0)]
    assert curve_columns({"a": [a0, a1], "b": [b0]})[0][0] == "val bpd at 200 s"
    assert row_curve([a0, a1]).step_seconds == 1.0  # the device of the first, as both have one run
    assert all(curve.by_time == [] for curve in row_curves({"a": [a0, a1], "c": [c0]}).values())
    header, cells = curve_columns({"a": [a0, a1], "c": [c0]})
    assert header[0] == "val bpd at equal time"
    assert cells[1][:3] == ["–", "always below", "–"]


def test_percentages_of_a_table_are_all_of_one_device(write_run, tmp_path):
    """Emerging convolutions share the H100 with 1x1 convolutions, but not with Woodbury transformations."""
    for name, device, mixing, seconds in (
        ("a0", "H100", "conv1x1", 1.0), ("a1", "CPU", "conv1x1", 2.0), ("b0", "H100", "emerging", 1.5),
        ("b1", "CPU", "emerging", 8.0), ("c0", "CPU", "woodbury", 3.0),
    ):  # fmt: skip
        runtime = {**CPU, "device": device, "train_step_cpu_seconds": seconds, "sample_seconds_per_image": seconds}
        write_run(name, seed=int(name[1]), mixing=mixing, runtime=runtime)
    _, rows, note = table1(find_runs(tmp_path))
    assert [(row[8], row[10]) for row in rows] == [("100.0", "100.0"), ("400.0", "400.0"), ("150.0", "150.0")]
    assert note.endswith("Times are those of the 3 of 5 runs that were timed in the same way, on 1 x CPU.")
    (tmp_path / "c0/version_0/runtime.json").write_text(json.dumps(CPU | {"device": "TPU"}))
    assert {row[8] for row in table1(find_runs(tmp_path)).rows} == {"–"}
