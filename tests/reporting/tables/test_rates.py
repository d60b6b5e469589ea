from pathlib import Path

from lightning_flows.reporting.tables import find_runs
from lightning_flows.reporting.tables.rates import at_best_rate, diverged_note, lowest_validation, rate_of, rates_note
from tests.reporting.runs import image_model, write_curve


def at_rate(write_run, name: str, rate: object, seed: int, val: float | None) -> None:
    folder = write_run(name, seed=seed)
    path = folder / "config.yaml"
    path.write_text(path.read_text() + f"optimizer:\n  class_path: torch.optim.Adam\n  init_args: {{lr: {rate}}}\n")
    if val is not None:
        write_curve(folder, {9: val + 1.0, 19: val, 29: float("nan")}, "val/loss")


def test_the_rate_is_that_of_the_optimizer(write_run, tmp_path: Path) -> None:
    at_rate(write_run, "a", 0.002, 0, 3.0)
    at_rate(write_run, "b", "true", 0, None)
    write_run("c")
    a, b, c = find_runs(tmp_path)
    assert (rate_of(a), rate_of(b), rate_of(c)) == (0.002, None, None)
    assert lowest_validation(a) == 3.0
    assert lowest_validation(b) == float("inf")


def test_a_row_is_at_its_best_rate_by_common_seeds(write_run, tmp_path: Path) -> None:
    """The third seed, which only one rate has, does not count."""
    for name, rate, seed, val in [("a", 1e-3, 0, 3.2), ("b", 2e-3, 0, 3.0), ("c", 2e-3, 1, 9.0), ("d", 4e-3, 0, None)]:
        at_rate(write_run, name, rate, seed, val)
    assert [run.short_name for run in at_best_rate(find_runs(tmp_path))] == ["b", "c"]


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
    assert diverged_note(tmp_path) == "Diverged and left out: a, b. "
