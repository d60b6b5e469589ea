"""A run folder has a unique number and one owner; its record identifies it when renamed or copied."""

import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lightning_flows.errors import CheckpointError, OutputError
from lightning_flows.training.run_folder import RunFolder, is_unsaved, newest, run_of_checkpoints, set_aside, state_of


def finished(parent: Path, name: str | None = None) -> Path:
    """A finished run with a checkpoint."""
    run = RunFolder.create(parent, name)
    (run.path / "checkpoints").mkdir()
    (run.path / "checkpoints/last.ckpt").write_text("weights")
    run.release("finished")
    return run.path


def test_concurrent_runs_get_different_folders(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda _: RunFolder.create(tmp_path), range(24)))
    assert {run.path.name for run in runs} == {f"version_{i}" for i in range(24)}


def test_a_number_exceeds_those_of_renamed_runs_and_other_loggers(tmp_path: Path) -> None:
    finished(tmp_path / "a").rename(tmp_path / "a/best")
    (tmp_path / "b/version_6").mkdir(parents=True)
    (tmp_path / "a/version_1_0").mkdir()  # no number
    assert RunFolder.create(tmp_path / "a").path.name == "version_1"
    assert RunFolder.create(tmp_path / "a", others=[tmp_path / "b"]).path.name == "version_7"


def test_a_folder_has_one_owner(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path)
    with pytest.raises(OutputError, match=rf"version_0 belongs to a run in progress \(process {os.getpid()}\)"):
        RunFolder(run.path).acquire()
    run.release("finished")
    RunFolder(run.path).acquire()


def test_a_dead_process_does_not_hold_the_lock(tmp_path: Path) -> None:
    code = (
        "import os, sys, time; from pathlib import Path; from lightning_flows.training.run_folder import RunFolder\n"
        "run = RunFolder.create(Path(sys.argv[1]))\n"
        "child = os.fork()\n"
        "if child == 0: print(os.getpid(), flush=True)\n"  # a data loading worker, which has released the lock
        "time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    owner = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    child = int(owner.stdout.readline())
    try:
        with pytest.raises(OutputError, match=f"process {owner.pid}"):
            RunFolder(tmp_path / "version_0").acquire()
        owner.kill()
        owner.wait()
        RunFolder(tmp_path / "version_0").acquire()
    finally:
        os.kill(child, 9)
        owner.kill()


def test_a_folder_of_a_given_name_must_be_empty(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    assert RunFolder.create(tmp_path, "mine").path == tmp_path / "mine"
    with pytest.raises(OutputError, match="mine contains files of another run"):
        RunFolder.create(tmp_path, "mine")


def test_links_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    for link in ("checkpoints", "samples", "config.yaml", "checkpoints/last.ckpt"):
        path = finished(tmp_path / link.replace("/", "_"))
        (path / "checkpoints/zzz.ckpt").symlink_to("best.ckpt")  # within the folder
        RunFolder(path).acquire()
        if link == "checkpoints":
            shutil.rmtree(path / link)
        (path / link).unlink(missing_ok=True) if link != "checkpoints" else None
        (path / link).symlink_to(tmp_path / "elsewhere")
        with pytest.raises(OutputError, match=rf"{link} is a link that leads out of the run"):
            RunFolder(path).acquire()


def test_the_lock_must_not_be_a_link(tmp_path: Path) -> None:
    path = finished(tmp_path)
    (path / ".lock").unlink()
    (path / ".lock").symlink_to(path / "checkpoints/last.ckpt")
    with pytest.raises(OSError, match="lock"):
        RunFolder(path).acquire()
    assert (path / "checkpoints/last.ckpt").read_text() == "weights"


def test_the_newest_run(tmp_path: Path) -> None:
    assert newest(tmp_path / "none") == (None, [])
    for _ in range(11):
        last = finished(tmp_path)
    RunFolder.create(tmp_path).release("failed")  # has no checkpoint
    assert newest(tmp_path) == (last, [])  # 10, which comes before 2 in the alphabet


@pytest.mark.parametrize("name", ["version_0_old", "version_0 (copy)", "0_backup", "version_backup", "version_7"])
def test_a_copy_is_skipped_with_a_message(tmp_path: Path, name: str) -> None:
    path = finished(tmp_path)
    shutil.copytree(path, tmp_path / name)
    found, remarks = newest(tmp_path)
    assert found == path
    assert remarks == [f"{tmp_path / name} is a copy of {path} and is skipped"]


@pytest.mark.parametrize("name", ["version_1_good", "good run", "version_1_0", "1"])
def test_a_renamed_run_is_found(tmp_path: Path, name: str) -> None:
    first = finished(tmp_path)
    finished(tmp_path).rename(tmp_path / name)
    assert newest(tmp_path) == (tmp_path / name, [])
    shutil.rmtree(tmp_path / name)
    assert newest(tmp_path) == (first, [])


def test_ambiguous_runs_are_refused(tmp_path: Path) -> None:
    for parent in ("a", "b"):
        finished(tmp_path / parent)
    shutil.copytree(tmp_path / "b/version_0", tmp_path / "a/other")
    with pytest.raises(CheckpointError, match=r"it is ambiguous which of .* and .* is the newest"):
        newest(tmp_path / "a")


def test_a_run_without_number_is_only_found_alone(tmp_path: Path) -> None:
    path = finished(tmp_path).rename(tmp_path / "old")
    (path / "run.json").unlink()
    assert newest(tmp_path) == (path, [])
    run = finished(tmp_path)
    assert newest(tmp_path) == (run, [f"{path} has no number and is skipped: pass its checkpoint with "
                                      "--ckpt_path FILE to resume it"])  # fmt: skip


@pytest.mark.parametrize(
    "record",
    [
        "",
        "[]",
        "{",
        '{"number": "x", "id": []}',
        '{"number": -3}',
        '{"number": 1e999}',
        "[" * 10_000,
        "\x00",
        "9" * 5000,
    ],
)
def test_a_malformed_record_is_ignored(tmp_path: Path, record: str) -> None:
    path = finished(tmp_path)
    (path / "run.json").write_text(record)
    assert newest(tmp_path) == (path, [])
    assert state_of(path) == "unknown"
    assert RunFolder.create(tmp_path).path.name == "version_1"


def test_state_of_a_run(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path)
    assert state_of(run.path) == "running"
    first = json.loads((run.path / "run.json").read_text())
    run.release("stopped")
    assert state_of(run.path) == "stopped"
    assert "ended" in json.loads((run.path / "run.json").read_text())
    run.acquire()
    assert "ended" not in json.loads((run.path / "run.json").read_text())
    run.release("finished")
    assert state_of(run.path) == "finished"
    last = json.loads((run.path / "run.json").read_text())
    assert last == first | {"state": "finished", "ended": last["ended"]}
    assert first["started"] <= last["ended"] <= time.time()


def test_a_run_is_found_by_the_folder_of_its_checkpoints(tmp_path: Path) -> None:
    for kept in ("kept", "other", "kept"):
        run = RunFolder.create(tmp_path / "runs")
        run.note("running", tmp_path / kept)
    assert run_of_checkpoints(tmp_path / "runs/../kept", tmp_path / "runs") == tmp_path / "runs/version_2"
    assert run_of_checkpoints(tmp_path / "none", tmp_path / "runs") is None
    run.release("finished")
    assert run_of_checkpoints(tmp_path / "kept", tmp_path / "runs") == run.path


@pytest.mark.parametrize("kept", ["checkpoints", "config.yaml", "hparams.yaml"])
def test_files_of_others_are_kept(kept: str, tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "runs")
    (run.path / "events.out.tfevents.0").touch()
    (run.path / kept).mkdir()
    run.drop()
    assert (run.path / kept).is_dir()


def test_an_empty_run_is_dropped_but_never_a_resumed_one(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "runs")
    (run.path / "events.out.tfevents.0").touch()
    RunFolder(run.path).drop()
    assert run.path.is_dir()
    run.release("failed")
    run.drop()
    assert not (tmp_path / "runs").exists()


def test_circular_links_and_pipes_are_refused(tmp_path: Path) -> None:
    path = finished(tmp_path)
    (path / "hparams.yaml").symlink_to("hparams.yaml")
    with pytest.raises(OutputError, match=r"hparams\.yaml is a link that leads out"):
        RunFolder(path).acquire()
    (path / "hparams.yaml").unlink()
    os.mkfifo(path / "hparams.yaml")
    with pytest.raises(OutputError, match=r"hparams\.yaml is not a regular file"):
        RunFolder(path).acquire()


def test_an_unprintable_name_is_not_resumed(tmp_path: Path) -> None:
    finished(tmp_path).rename(tmp_path / "\x1b[31m")
    with pytest.raises(CheckpointError, match="rename it") as info:
        newest(tmp_path)
    assert str(info.value).isprintable()


def test_a_run_is_unsaved_only_if_it_has_no_checkpoint_anywhere(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "mine")
    run.note("running", tmp_path / "kept")
    assert is_unsaved(run.path)
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/best.ckpt").touch()
    assert not is_unsaved(run.path)
    with pytest.raises(OutputError, match="belongs to a run in progress"):
        set_aside(run.path)
    assert not is_unsaved(tmp_path / "kept")  # not a run's folder
