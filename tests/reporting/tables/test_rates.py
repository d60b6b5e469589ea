import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from lightning_flows.errors import DataError
from lightning_flows.reporting.tables import FLOWS, find_runs, supplements
from lightning_flows.reporting.tables.compare import DifferError
from lightning_flows.reporting.tables.rates import (
    at_common_rates,
    chosen,
    diverged_note,
    lowest_validation,
    rate_of,
    rates_note,
    rates_table,
)
from tests.reporting.runs import image_model, vae_model, write_curve, write_items_of


def at_rate(write_run, name: str, rate: object, seed: int, val: float | None, **options: object) -> None:
    folder = write_run(name, seed=seed, **options)
    path = folder / "config.yaml"
    path.write_text(path.read_text() + f"optimizer:\n  class_path: torch.optim.Adam\n  init_args: {{lr: {rate}}}\n")
    if val is not None:
        write_curve(folder, {9: val + 1.0, 19: val, 29: float("nan")}, "val/loss")


def test_the_rate_is_that_of_the_optimizer(write_run, tmp_path: Path) -> None:
    at_rate(write_run, "a", 0.002, 0, 3.0)
    for name, rate in {"b": "true", "c": ".nan", "d": "1e400"}.items():
        at_rate(write_run, name, rate, 0, None)
    write_run("e")
    assert [rate_of(run) for run in find_runs(tmp_path)] == [0.002, None, None, None, None]


def test_the_lowest_validation_is_that_of_a_complete_curve(write_run, tmp_path: Path) -> None:
    for name, val, step in (("a", 3.0, 20), ("b", 3.0, 31), ("c", None, 20)):
        at_rate(write_run, name, 1e-3, 0, val, global_step=step)
    assert [lowest_validation(run) for run in find_runs(tmp_path)] == [3.0, math.inf, math.inf]


def test_a_row_is_at_its_best_rate_by_common_seeds(write_run, tmp_path: Path) -> None:
    """The third seed, which only one rate has, does not count."""
    for name, rate, seed, val in [("a", 1e-3, 0, 3.2), ("b", 2e-3, 0, 3.0), ("c", 2e-3, 1, 9.0)]:
        at_rate(write_run, name, rate, seed, val)
    assert [run.short_name for run in chosen(find_runs(tmp_path))] == ["b", "c"]


def test_no_rate_is_chosen_without_all_curves(write_run, tmp_path: Path) -> None:
    """A single rate needs none."""
    at_rate(write_run, "a", 1e-3, 0, None)
    at_rate(write_run, "b", 2e-3, 0, 3.0)
    at_rate(write_run, "c", 2e-3, 1, None)  # not compared
    a, b, c = find_runs(tmp_path)
    assert chosen([a]) == [a]
    with pytest.raises(DataError, match=r"a/version_0 has no complete curve of val/loss, so that no learning"):
        chosen([a, b, c])


def test_rates_are_compared_at_equal_settings(write_run, tmp_path: Path) -> None:
    at_rate(write_run, "a", 1e-3, 0, 3.0, trainer={"max_epochs": 5})
    at_rate(write_run, "b", 2e-3, 0, 3.0)
    for function in (chosen, lambda runs: rates_table({"x": runs})):
        with pytest.raises(DifferError, match=r"may only differ in lr, the seed; .* has trainer.max_epochs: 5, but"):
            function(find_runs(tmp_path))


def test_only_the_newest_run_of_a_seed_counts(write_run, tmp_path: Path) -> None:
    at_rate(write_run, "a", 1e-3, 0, 3.2)
    at_rate(write_run, "b", 2e-3, 0, 3.0, time=1.0, bpd=4.0)
    at_rate(write_run, "c", 2e-3, 0, 3.4, time=2.0, bpd=5.0)
    runs = find_runs(tmp_path)
    assert [run.short_name for run in chosen(runs)] == ["a"]
    assert rates_table({"x": runs}).rows == [["x", "3.900", "4.900"]]


def test_the_table_has_each_rate_by_common_seeds(write_run, tmp_path: Path) -> None:
    """Rows at one rate are part of it, and rows without one are not; seeds that not all rates have do not count."""
    for name, rate, seed, bpd in [("a", 1e-3, 0, 4.0), ("b", 2e-3, 0, 3.0), ("c", 2e-3, 1, 9.0), ("d", 4e-3, 0, 5.0)]:
        at_rate(write_run, name, rate, seed, 3.0, bpd=bpd)
    write_run("e")
    a, b, c, d, e = find_runs(tmp_path)
    table = rates_table({"x": [c, b, a], "y": [d], "z": [e]})
    assert table.header == ["model", "NLL at 0.001", "NLL at 0.002", "NLL at 0.004"]
    assert table.rows == [["x", "3.900", "2.900", "–"], ["y", "–", "–", "4.900"]]
    assert rates_table({"x": [b, c], "y": [d], "z": [e]}) is None
    assert rates_table({}) is None


def test_the_table_has_bounds_unless_all_runs_have_likelihoods(write_run, tmp_path: Path) -> None:
    at_rate(write_run, "a", 1e-3, 0, 3.0)
    at_rate(write_run, "b", 2e-3, 0, 3.0, metrics={"test/bpd": 4.5})
    table = rates_table({"x": find_runs(tmp_path)})
    assert (table.header[1], table.rows) == ("−ELBO at 0.001", [["x", "4.000", "4.500"]])


def test_the_note_names_the_rates(write_run, tmp_path: Path) -> None:
    for name, rate in (("a", 1e-3), ("b", 2e-3)):
        at_rate(write_run, name, rate, 0, 3.0)
    write_run("c")
    a, b, c = ([run] for run in find_runs(tmp_path))
    assert rates_note([("x", a), ("y", b)]) == "Learning rates: x 0.001, y 0.002. "
    assert rates_note([("x", a), ("y", a)]) == "Learning rate of all rows: 0.001. "
    assert rates_note([("x", a), ("y", c)]) == "Learning rates: x 0.001. "
    assert rates_note([("x", c)]) == rates_note([]) == ""


def test_diverged_runs_are_named(tmp_path: Path) -> None:
    for name, state in {"a_lr1": '{"state": "diverged"}', "b": '{"state": "finished"}', "c": "[", "d": "[1]"}.items():
        folder = tmp_path / name / "version_0"
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(state)
    assert diverged_note(tmp_path) == "Diverged and left out: a_lr1. "
    again = tmp_path / "a_lr1/version_1"
    again.mkdir()
    (again / "run.json").write_text('{"state": "finished"}')
    assert diverged_note(tmp_path) == ""


def test_diverged_runs_of_other_tables_are_not_named(write_run, tmp_path: Path) -> None:
    for name, flow in {"a": "GlowFlow", "b": "CouplingFlow"}.items():
        folder = write_run(name, model=image_model(flow))
        (folder / "tests.jsonl").unlink()
        (folder / "run.json").write_text('{"state": "diverged"}')
    assert diverged_note(tmp_path, {"GlowFlow"}) == "Diverged and left out: a. "
    vae = write_run("vae", model=vae_model("DiagonalPosterior"))
    (vae / "run.json").write_text('{"state": "diverged"}')
    notes = [diverged_note(tmp_path, FLOWS[table]) for table in (4, "vae")]
    assert notes == ["", "Diverged and left out: vae. "]
    shutil.rmtree(vae)
    assert diverged_note(tmp_path) == "Diverged and left out: a, b. "


def test_rows_are_paired_at_the_rates_that_both_have(write_run, tmp_path: Path) -> None:
    """The best rate of the first row is one that the second does not have."""
    for name, rate, val in [
        ("a1", 1e-3, 3.2),
        ("a2", 2e-3, 3.1),
        ("a4", 4e-3, 3.0),
        ("b1", 1e-3, 3.5),
        ("b2", 2e-3, 3.4),
    ]:
        at_rate(write_run, name, rate, 0, val)
    at_rate(write_run, "c8", 8e-3, 0, 3.0)
    runs = find_runs(tmp_path)
    first, second, third = ([run for run in runs if run.short_name.startswith(name)] for name in ("a", "b", "c"))
    assert [[run.short_name for run in each] for each in at_common_rates(first, second)] == [["a2"], ["b2"]]
    assert at_common_rates(first, third) == ([], [])


def test_kinds_of_noise_are_compared_at_a_common_rate(write_run, tmp_path: Path) -> None:
    for noise, rate, val in [("Uniform", 1e-3, 3.2), ("Uniform", 2e-3, 3.0), ("Variational", 1e-3, 3.4)]:
        model = image_model("CouplingFlow", noise, steps_per_level=8)
        at_rate(write_run, f"{noise}{rate}", rate, 0, val, model=model)
        folder = tmp_path / f"{noise}{rate}/version_0"
        write_items_of(folder, {"loss": np.full(4, val), "nll_bpd": np.full(4, val)})
    tables = supplements(2, find_runs(tmp_path))
    table = tables["Variational minus uniform dequantization"]
    assert [row[:2] for row in table.rows] == [["coupling", "+0.2000 ± 0.0000"]]
    assert table.note.endswith("Each is at the best of the learning rates at which both were trained.")
    (tmp_path / "Uniform0.001/version_0/tests.jsonl").unlink()
    assert "Variational minus uniform dequantization" not in supplements(2, find_runs(tmp_path))
