import errno
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from lightning_flows.errors import DataError
from lightning_flows.reporting.tables import find_runs
from lightning_flows.reporting.tables.compare import check_comparable, measured_on, newest_by_seed, one_per_seed
from lightning_flows.reporting.tables.curve_file import CURVES, curve_line
from lightning_flows.reporting.tables.runs import read_run, read_runs
from tests.reporting.runs import image_model, write_curve, write_items_of


def test_tested_runs_are_found_anywhere_below(write_run, tmp_path):
    write_run("a/b", seed=3)
    write_run("c", runtime={"train_step_seconds": 0.5})
    (tmp_path / "unfinished/version_0").mkdir(parents=True)
    one, other = find_runs(tmp_path)
    assert (one.seed, other.seed) == (3, 0)
    assert (one.flow, one.flow_arguments["width"], one.dequantization) == ("GlowFlow", 8, "uniform")
    assert (one.name, one.experiment, one.label) == ("a/b/version_0", "a", "b")
    assert (one.runtime, other.runtime) == ({}, {"train_step_seconds": 0.5})


def test_the_last_test_on_the_runs_own_data_counts(write_run, tmp_path):
    folder = write_run("a", bpd=4.0)
    test = json.loads((folder / "tests.jsonl").read_text())
    later = test | {"metrics": {"test/bpd": 3.0}}
    elsewhere = test | {"metrics": {"test/bpd": 1.0}, "data": {"class_path": "x.ImageFolder"}}
    (folder / "tests.jsonl").write_text("".join(json.dumps(t) + "\n" for t in (test, later, elsewhere)))
    (run,) = find_runs(tmp_path)
    assert run.test["metrics"]["test/bpd"] == 3.0
    (folder / "tests.jsonl").write_text(json.dumps(elsewhere) + "\n")
    with pytest.raises(DataError, match=r"there are no tested runs below .*: train with `fit`"):
        find_runs(tmp_path)


def test_a_test_of_the_best_checkpoint_counts_and_one_of_all_items(write_run, tmp_path):
    folder = write_run("a")
    test = json.loads((folder / "tests.jsonl").read_text())
    best, last = test | {"global_step": 1}, test | {"global_step": 2, "checkpoint": "last.ckpt"}
    part, again = best | {"is_partial": True, "global_step": 3}, best | {"time": 2.0}
    for tests, step in (((best, last, part), 1), ((last, part), 2), ((part,), 3), ((part, best, again), 1)):
        (folder / "tests.jsonl").write_text("".join(json.dumps(each) + "\n" for each in tests))
        assert find_runs(tmp_path)[0].test["global_step"] == step
    assert find_runs(tmp_path)[0].test["time"] == 2.0
    (folder / "run.json").write_text('{"state": "finished", "ended": 1.5}')
    (folder / "tests.jsonl").write_text("".join(json.dumps(each) + "\n" for each in (best, last | {"time": 2.0})))
    assert find_runs(tmp_path)[0].test["global_step"] == 2  # the one of best.ckpt came before the end of training


def test_runs_without_a_seed_are_all_kept(write_run, tmp_path):
    for name, seed in (("a", False), ("b", False), ("c", None), ("d", 1), ("e", 1)):
        write_run(name, seed=seed)
    runs = find_runs(tmp_path)
    assert [run.seed for run in runs] == [None, None, None, 1, 1]
    assert [run.short_name for run in newest_by_seed(runs)] == ["a", "b", "c", "e"]


@pytest.mark.parametrize(("file", "content"), [("tests.jsonl", "{"), ("config.yaml", "a: ["), ("runtime.json", "x")])
def test_a_broken_file_is_named(write_run, tmp_path, file, content):
    (write_run("a", runtime={}) / file).write_text(content)
    with pytest.raises(DataError, match=r"the run in .*a.version_0 is broken"):
        find_runs(tmp_path)


def test_runs_of_other_settings_are_not_compared(write_run, tmp_path):
    write_run("a", mixing="conv1x1", seed=0)
    write_run("b", mixing="emerging", seed=1)
    check_comparable(find_runs(tmp_path), free=lambda run: {"mixing"})
    with pytest.raises(DataError, match=r"model\.init_args\.flow\.init_args\.mixing: conv1x1, but .* emerging"):
        check_comparable(find_runs(tmp_path), free=lambda run: set())
    write_run("c", trainer={"max_epochs": 5})
    with pytest.raises(DataError, match=r"trainer\.max_epochs: 4, but .* 5: keep them in separate folders"):
        check_comparable(find_runs(tmp_path), free=lambda run: {"mixing"})


def test_other_learning_rates_are_not_compared(write_run, tmp_path):
    for name, rate in (("a", 0.1), ("b", 0.2)):
        path = write_run(name) / "config.yaml"
        path.write_text(path.read_text() + f"optimizer: {{class_path: torch.optim.Adam, init_args: {{lr: {rate}}}}}\n")
    with pytest.raises(DataError, match=r"optimizer\.init_args\.lr: 0\.1, but .* 0\.2"):
        check_comparable(find_runs(tmp_path), free=lambda run: set())


def test_tests_of_other_settings_are_not_compared(write_run, tmp_path):
    write_run("a")
    write_run("b", seed=1, num_items=8)
    with pytest.raises(DataError, match=r"test\.num_items: 104, but .* 8: keep"):
        check_comparable(find_runs(tmp_path), free=lambda run: {"mixing"})


def test_tests_of_other_items_are_not_averaged(write_run, tmp_path):
    for seed, name in enumerate("ab"):
        write_items_of(write_run(name, seed=seed), {"loss": np.ones(3)}, digest=name)
    with pytest.raises(DataError, match=r"a/version_0 and .*b/version_0 were tested on different items: rerun"):
        one_per_seed(find_runs(tmp_path))


def test_a_dequantization_may_be_a_class_path(write_run, tmp_path) -> None:
    model = image_model("GlowFlow", mixing="conv1x1")
    model["init_args"]["dequantization"] = "lightning_flows.dequantization.VariationalDequantization"
    write_run("a", model=model)
    (run,) = find_runs(tmp_path)
    assert run.dequantization == "variational"


def test_epochs_too_short_to_be_timed(write_run, tmp_path) -> None:
    """The batch size is measured with the steps."""
    runtime = {"num_devices": 1, "device": "CPU"}
    write_run("a", runtime=runtime)
    write_run("b", runtime=runtime | {"batch_size": 8}, seed=1)
    short, usual = find_runs(tmp_path)
    assert "; runtimes on 1 x CPU; torch 2.0" in measured_on([short])
    assert "; runtimes on 1 x CPU, batch 8; torch 2.0" in measured_on([usual])


def test_curves_of_a_run_come_from_its_own_file_and_from_event_files(write_run) -> None:
    folder = write_run("a")
    write_curve(folder, {1: 4.0, 3: 2.5})
    (folder / CURVES).write_text(curve_line(3, {"val/bpd": 2.0}) + "\n" + curve_line(5, {"val/bpd": 1.0}) + "\n")
    assert read_run(folder).curve("val/bpd") == [(1, 4.0), (3, 2.0), (5, 1.0)]


def test_a_folder_with_curves_alone_is_a_run_and_a_folder_of_wandb_is_not(tmp_path: Path) -> None:
    kinds = ("run-1", "offline-run-2", "latest-run")
    for name in ("a/version_0", *(f"wandb/{kind}/files" for kind in kinds)):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "a/version_0" / CURVES).write_text(curve_line(0, {"val/bpd": 1.0}))
    for kind in kinds:
        (tmp_path / "wandb" / kind / "files/config.yaml").write_text("wandb_version: 1\n")
    assert [run.name for run in read_runs(tmp_path)] == ["a/version_0"]


def test_runs_of_one_name_are_told_apart(write_run, tmp_path):
    first = write_run("photos")
    write_run("other_seed3")
    shutil.copytree(first, first.with_name("version_1"))
    shutil.copytree(first, tmp_path / "elsewhere/photos/version_0")
    runs = {run.name: (run.short_name, run.label) for run in read_runs(tmp_path)}
    assert runs == {
        "photos/version_0": ("photos/version_0", "photos/version_0"),
        "photos/version_1": ("photos/version_1", "photos/version_1"),
        "other_seed3/version_0": ("other_seed3", "other"),
        "elsewhere/photos/version_0": ("photos", "photos"),
    }
    assert [run.short_name for run in read_runs(tmp_path / "photos")] == ["version_0", "version_1"]


@pytest.mark.parametrize(
    ("file", "content", "advice"),
    [
        ("config.yaml", "a: [1\nb: 2\n", r"did not find .*, in line 2; correct the file, or move the run"),
        (
            "tests.jsonl",
            "{",
            r"tests.jsonl:1 is not a plain record: .*; remove that line, or the file, and run `test` again$",
        ),
        ("runtime.json", "x", "; correct or remove the file$"),
        ("run.json", '{"state": "stop', "; correct or remove the file$"),
        ("run.json", '{"state": "stopped", "ended": "yesterday"}', "ended is 'yesterday', not a finite number"),
        ("run.json", '{"state": "diverged", "ended": NaN}', "ended is nan, not a finite number"),
        (
            "run.json",
            '{"state": "done"}',
            "state is 'done', not one of running, .*; correct or remove the file$",
        ),
    ],
)
def test_the_advice_fits_the_broken_file(write_run, tmp_path, file, content, advice):
    (write_run("a", runtime={}) / file).write_text(content)
    (run,) = read_runs(tmp_path)
    assert re.search(advice, run.error)
    assert "<" not in run.error


@pytest.mark.parametrize(
    ("record", "why"),
    [
        ({"state": "stopped"}, "is stopped, not finished: resume it"),
        ({"state": "running"}, "is running, not finished"),
        ({"state": "failed", "ended": 0.5}, "is failed, not finished"),
        ({"state": "diverged"}, "diverged: its loss is not finite"),
        ({"state": "finished", "ended": 2.0}, "was tested before its training ended: test it again"),
        ({"state": "finished", "ended": 0.5}, ""),
        ({"state": "finished"}, ""),
        ({}, ""),
    ],
)
def test_only_tests_of_finished_runs_count(record, why, write_run, tmp_path) -> None:
    (write_run("a") / "run.json").write_text(json.dumps(record))  # tested at the time 1.0
    other, skipped = write_run("b"), []
    found = [run.folder for run in find_runs(tmp_path, report=skipped.append)]
    assert found == [*([] if why else [tmp_path / "a/version_0"]), other]
    assert len(skipped) == bool(why)
    assert not why or f"{tmp_path}/a/version_0 {why}" in skipped[0]
    shutil.rmtree(other)
    if why:
        with pytest.raises(DataError, match="there are no finished, tested runs below"):
            find_runs(tmp_path)


def test_a_file_without_permission_is_not_to_be_removed(write_run, tmp_path, monkeypatch):
    write_run("a")
    (run,) = read_runs(tmp_path)
    assert run.error == ""

    def refuse(*args, **options):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("lightning_flows.reporting.tables.run_files.os.open", refuse)
    (run,) = read_runs(tmp_path)
    assert run.error.endswith("Permission denied; change its permissions")


def test_a_folder_that_cannot_be_listed_is_not_an_empty_one(write_run, tmp_path, monkeypatch):
    write_run("a")
    monkeypatch.setattr("lightning_flows.reporting.tables.runs.os.access", lambda *args: False)
    for read in (read_runs, find_runs):
        with pytest.raises(DataError, match=r"cannot be listed \(Permission denied\): change its permissions"):
            read(tmp_path)
        with pytest.raises(DataError, match="nowhere is not a folder: use the save_dir of your runs, or train"):
            read(tmp_path / "nowhere")
