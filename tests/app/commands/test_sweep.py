import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from lightning_flows.app.cli import main
from lightning_flows.app.commands.estimate import Cost
from lightning_flows.app.commands.experiments import EXPERIMENTS
from lightning_flows.app.commands.processes import STOPS
from lightning_flows.app.commands.small import resized
from lightning_flows.app.commands.sweep import Trainings, _differ
from lightning_flows.app.configs import load_configs
from lightning_flows.errors import DataError, UsageError

NAME = "mog4_gnf"


def trainings(runs: Path, name: str = NAME, **options) -> Trainings:
    experiments = EXPERIMENTS[1] | EXPERIMENTS[2] | EXPERIMENTS[4]
    return Trainings(runs, {name: experiments[name]}, **options)


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Replace the application's processes by a script that logs its calls; writing to it sets its body."""
    script = tmp_path / "process"
    script.touch(mode=0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    return tmp_path / "log"


def write(log: Path, body: str) -> None:
    (log.parent / "process").write_text(f"#!/bin/sh\nexec 3>>{log}\n{body}\n")


def test_different_settings_use_different_folders(tmp_path: Path) -> None:
    several = trainings(tmp_path, "conv1x1", overlays=["size/cpu.yaml", "my/own.yaml"], images="some/images.tar")
    assert several.folder("conv1x1", 3) == tmp_path / "conv1x1_cpu_own_images_seed3"
    assert trainings(tmp_path, "csf_variational").folder("csf_variational", 0) == tmp_path / "csf_variational_cpu_seed0"
    assert trainings(tmp_path, "conv1x1", overlays=[]).folder("conv1x1", 0) == tmp_path / "conv1x1_seed0"
    options = trainings(tmp_path, "conv1x1", overlays=["--model.flow.width=8", "--data=Own"])
    assert options.folder("conv1x1", 0) == tmp_path / "conv1x1_width=8_data=Own_seed0"
    assert trainings(tmp_path).folder(NAME, 0) == tmp_path / "mog4_gnf_seed0"


def test_a_run_that_fails_first_stops_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []

    def fit_and_test(name: str, seed: int, *, test: bool) -> None:
        started.append(seed)
        if seed == 1:
            raise UsageError("it failed")
        time.sleep(1.0 if seed == 0 else 0.05)  # the first one is still running

    several = trainings(tmp_path, jobs=2)
    monkeypatch.setattr(several, "_fit_and_test", fit_and_test)
    with pytest.raises(UsageError, match="it failed"):
        several.run(range(30))
    assert len(started) < 10


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_run_that_fails_later_does_not_stop_the_others(
    jobs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    started = []

    def fit_and_test(name: str, seed: int, *, test: bool) -> None:
        started.append(seed)
        if seed == 3:
            raise UsageError("the third one failed")

    several = trainings(tmp_path, jobs=jobs)
    monkeypatch.setattr(several, "_fit_and_test", fit_and_test)
    with pytest.raises(UsageError, match="1 of 6 runs failed; the first: the third one failed"):
        several.run(range(6))
    assert sorted(started) == list(range(6))
    assert "the third one failed; the other runs continue" in capsys.readouterr().err


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_run_that_diverges_is_not_trained_again(jobs: int, tmp_path: Path, log: Path, leave, capfd) -> None:
    """It does not stop the others; `fit` fails then."""
    leave("diverged")
    write(log, (log.parent / "process").read_text().split("\n", 2)[2] + "\n[ $3 != fit ] || exit 1")
    trainings(tmp_path, jobs=jobs).run([0])
    assert "mog4_gnf_seed0 diverged: its loss is not finite, so it is not trained again" in capfd.readouterr().err
    several = trainings(tmp_path, jobs=jobs)
    assert several.diverged(NAME, 0)
    several.run([0])
    assert "mog4_gnf_seed0 diverged: its loss is not finite, so it is not trained again" in capfd.readouterr().err
    assert log.read_text().split() == ["fit"]


def test_runs_of_a_search_are_not_tested(tmp_path: Path, log: Path, leave) -> None:
    leave()
    trainings(tmp_path).run([0], test=False)
    assert log.read_text().split() == ["fit"]
    trainings(tmp_path).run([0], test=False)
    trainings(tmp_path).run([0])
    assert log.read_text().split() == ["fit", "test"]


def test_the_estimate_covers_missing_runs_only(tmp_path: Path, log: Path, leave, capfd) -> None:
    leave()
    several = trainings(tmp_path, costs=lambda fit, test: Cost(3600.0, 60.0))
    assert several.seconds([0, 1]) == [3660.0, 3660.0]
    assert several.seconds([0, 1], trained=[(NAME, 1)]) == [3660.0, 60.0]
    several.run([0], test=False)
    assert "1 run, about 1:00 h on this machine\n" in capfd.readouterr().err
    assert several.seconds([0, 1]) == [60.0, 3660.0]
    several.run([0])
    assert several.seconds([0, 1]) == [3660.0]
    assert trainings(tmp_path, costs=lambda fit, test: None).seconds([1]) is None


def test_output_of_parallel_runs_is_prefixed_with_their_names(tmp_path: Path, log: Path, capfd) -> None:
    both = f"echo up >&3; while [ $(grep -c up {log}) -lt 2 ]; do sleep 0.01; done"
    write(log, rf"{both}; echo going; printf 'caf\351\n' >&2; exit 3")
    with pytest.raises(UsageError, match=r"`fit` of mog4_gnf_seed\d ended with status 3"):
        trainings(tmp_path, jobs=2).run([0, 1])
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("run 1 of 2: mog4_gnf, seed 0") == 1
    for seed in (0, 1):
        lines = [line for line in err.splitlines() if line.startswith(f"mog4_gnf_seed{seed}")]
        assert lines == [f"mog4_gnf_seed{seed}: going", f"mog4_gnf_seed{seed}: caf\N{REPLACEMENT CHARACTER}"]


def test_a_single_run_writes_to_stderr_only(tmp_path: Path, log: Path, capfd) -> None:
    write(log, "echo going; exit 3")
    with pytest.raises(UsageError):
        trainings(tmp_path).run([0])
    out, err = capfd.readouterr()
    assert out == ""
    assert "\ngoing\n" in err


SETTINGS = load_configs(*(layer for layer in EXPERIMENTS[4][NAME].layers if not layer.startswith("--")))
SETTINGS["model"]["init_args"]["flow"]["init_args"]["exponential"] = False
WHOLE = {"model": SETTINGS["model"], "data": SETTINGS["data"], "checkpoint": "best.ckpt"}


@pytest.fixture
def leave(log: Path, write_run) -> Callable[..., Path]:
    """Make `fit` leave a run of the config in a given state, and `test` its record; return the run's folder."""

    def prepare(state: str | None = "finished", **record: Any) -> Path:
        made = write_run("made", seed=0, **WHOLE | record)
        config = yaml.safe_load((made / "config.yaml").read_text())
        (made / "config.yaml").write_text(yaml.safe_dump(config | SETTINGS | {"seed_everything": 0}))
        if state:
            (made / "run.json").write_text(json.dumps({"state": state}))
        folder = log.parent / "mog4_gnf_seed0/version_0"
        write(
            log,
            f'echo "$3" >&3; if [ $3 = fit ]; then mkdir -p {folder}/checkpoints; '
            f"touch {folder}/checkpoints/best.ckpt; "
            f"cp {made}/config.yaml {folder}; [ ! -e {made}/run.json ] || cp {made}/run.json {folder}; "
            f"else cp {made}/tests.jsonl {folder}; fi",
        )
        return folder

    return prepare


def test_each_run_is_trained_and_tested_once(tmp_path: Path, log: Path, leave, capfd) -> None:
    leave()
    trainings(tmp_path).run([0, 0])
    trainings(tmp_path).run([0])
    assert log.read_text().split() == ["fit", "test"]
    assert "1 of 1 runs done, 0:00:00 left" in capfd.readouterr().err


@pytest.mark.parametrize("state", ["stopped", "running", "failed"])
def test_a_stopped_run_is_not_tested(state: str, tmp_path: Path, log: Path, leave) -> None:
    """A stopped run exits with status 0 and has a best checkpoint."""
    leave(state)
    with pytest.raises(UsageError, match=f"`fit` of mog4_gnf_seed0 is {state}, not finished: rerun the command"):
        trainings(tmp_path).run([0])
    assert log.read_text().split() == ["fit"]


@pytest.mark.parametrize("what", ["stopped", "last.ckpt", "empty"])
def test_tests_of_other_checkpoints_do_not_count(what: str, tmp_path: Path, log: Path, leave) -> None:
    folder = leave(checkpoint="last.ckpt" if what == "last.ckpt" else "best.ckpt")
    trainings(tmp_path).run([0])
    if what == "stopped":
        (folder / "run.json").write_text('{"state": "stopped"}')
    if what == "empty":
        (folder / "tests.jsonl").write_text("")
    trainings(tmp_path).run([0])
    assert log.read_text().split() == ["fit", "test", *(["fit"] if what == "stopped" else []), "test"]


def test_a_test_before_the_end_of_training_does_not_count(tmp_path: Path, log: Path, leave) -> None:
    folder = leave()  # tested at the time 1.0
    trainings(tmp_path).run([0])
    for ended, missing in ((0.5, []), (1.5, [(NAME, 0)])):
        (folder / "run.json").write_text(json.dumps({"state": "finished", "ended": ended}))
        assert trainings(tmp_path).missing([0]) == missing


def test_a_test_of_a_part_of_the_items_does_not_count(tmp_path: Path, log: Path, leave) -> None:
    folder = leave()
    trainings(tmp_path).run([0])
    record = json.loads((folder / "tests.jsonl").read_text())
    for is_partial, missing in ((False, []), (True, [(NAME, 0)])):
        (folder / "tests.jsonl").write_text(json.dumps(record | {"is_partial": is_partial}))
        assert trainings(tmp_path).missing([0]) == missing


def test_the_checkpoint_of_the_finished_version_is_tested(tmp_path: Path, log: Path, leave) -> None:
    folder = leave()
    trainings(tmp_path).run([0])
    (folder / "tests.jsonl").unlink()
    stopped = folder.parent / "version_1/checkpoints/best.ckpt"
    stopped.parent.mkdir(parents=True)
    stopped.touch()
    (folder.parent / "version_1/run.json").write_text('{"state": "stopped"}')
    write(log, 'echo "$*" >&3')
    trainings(tmp_path).run([0])
    assert log.read_text().splitlines()[-1].split()[2:4] == ["test", f"--ckpt_path={folder}/checkpoints/best.ckpt"]


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"root": "elsewhere/images.tar"}, "its data.root is elsewhere/images.tar, not some/images.tar"),
        ({"shift": 0}, "its data.shift is 0, not 2"),
        ({"class_path": "Other"}, ""),
        ({}, ""),
    ],
)
def test_finished_runs_on_other_images_are_refused(
    settings: dict[str, Any], text: str, tmp_path: Path, write_run
) -> None:
    small = resized({"conv1x1": EXPERIMENTS[1]["conv1x1"]}, "8x8")
    chosen = Trainings(tmp_path, small, images="some/images.tar")
    config = load_configs(*(layer for layer in chosen.layers("conv1x1") if not layer.startswith("--")))
    for option in (layer for layer in chosen.layers("conv1x1") if layer.startswith("--")):
        *above, last = option[2:].partition("=")[0].split(".")
        holder = config
        for name in above:
            holder = holder.setdefault(name, {})
            holder = holder.setdefault("init_args", {}) if "class_path" in holder else holder
        holder[last] = yaml.safe_load(option.partition("=")[2])
    data = config["data"]
    data["class_path"] = settings.pop("class_path", data["class_path"])
    data["init_args"] |= {"root": "some/images.tar"} | settings
    folder = write_run("made", model=config["model"], data=data)
    whole = config | {"seed_everything": 0}
    (folder / "config.yaml").write_text(yaml.safe_dump(whole))
    (folder / "run.json").write_text('{"state": "finished"}')
    folder.parent.rename(chosen.folder("conv1x1", 0))
    if text:
        with pytest.raises(DataError, match=text):
            chosen.missing([0])
    else:
        assert chosen.missing([0]) == []


def test_a_run_on_own_images_has_the_settings_of_its_experiment(tmp_path: Path, write_run, capsys) -> None:
    """Of data of another class, the command line keeps what both classes accept."""
    for name in ("conv1x1", "vae_iaf"):
        chosen = Trainings(tmp_path, {name: (EXPERIMENTS[1] | EXPERIMENTS["vae"])[name]}, images="images.tar")
        with pytest.raises(SystemExit):
            main(["fit", *chosen.options(name), "--seed_everything=0", "--print_config"])
        config = yaml.safe_load(capsys.readouterr().out)
        folder = write_run(name, model=config["model"], data=config["data"])
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        (folder / "run.json").write_text('{"state": "finished"}')
        folder.parent.rename(chosen.folder(name, 0))
        assert chosen.missing([0]) == []


@pytest.mark.parametrize(
    "key", ["model.flow.net.width", "model.flow.exponential", "optimizer.lr", "data.mixture", "seed_everything"]
)
def test_a_run_with_other_settings_is_refused(key: str, tmp_path: Path, log: Path, leave) -> None:
    folder = leave()
    trainings(tmp_path).run([0])
    config = yaml.safe_load((folder / "config.yaml").read_text())
    *above, last = key.split(".")
    holder = config
    for name in above:
        holder = holder[name]
        holder = holder.get("init_args", holder)
    holder[last] = "mog9" if last == "mixture" else 7
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    if last == "mixture":
        (folder / "tests.jsonl").write_text((folder / "tests.jsonl").read_text().replace('"mog4"', '"mog9"'))
    with pytest.raises(DataError, match=rf"is not a run of {NAME}: its {key} is (7|mog9), not "):
        trainings(tmp_path).run([0])


def stop(runs: Path, log: Path, jobs: int, *numbers: signal.Signals, several: Trainings | None = None) -> BaseException:
    """Start runs, send signals to this process only, each after a line of output, and return how it ended."""

    def ask() -> None:
        for i, number in enumerate(numbers):
            while not log.exists() or log.read_text().count("\n") < jobs * (i + 1):
                time.sleep(0.01)
            os.kill(os.getpid(), number)

    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start background jobs with it ignored
    before = [signal.getsignal(number) for number in STOPS]
    asking = threading.Thread(target=ask)
    asking.start()
    try:
        with pytest.raises(BaseException) as error:  # noqa: PT011 - any ending
            (several or trainings(runs, jobs=jobs)).run(range(5))
    finally:
        asking.join()
    assert [signal.getsignal(number) for number in STOPS] == before
    return error.value


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("number", STOPS)
def test_a_signal_to_the_parent_stops_all_processes(
    number: signal.Signals, jobs: int, tmp_path: Path, log: Path
) -> None:
    write(log, "trap 'echo stopped >&3; exit 0' TERM; echo up >&3; while true; do sleep 0.05; done")
    error = stop(tmp_path, log, jobs, number)
    if number == signal.SIGINT:
        assert isinstance(error, KeyboardInterrupt)
    else:
        assert isinstance(error, SystemExit)
        assert error.code == 128 + signal.SIGTERM
    assert sorted(log.read_text().split()) == ["stopped"] * jobs + ["up"] * jobs  # and no other was started


def test_a_signal_while_the_pool_starts_a_thread_stops_its_process(
    tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(log, "trap 'sleep 0.2; echo stopped >&3; exit 0' TERM; echo up >&3; while true; do sleep 0.05; done")
    start = threading.Thread.start

    def start_and_signal(thread: threading.Thread) -> None:
        monkeypatch.setattr(threading.Thread, "start", start)
        start(thread)
        while not log.exists() or not log.read_text():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(threading.Thread, "start", start_and_signal)
    with pytest.raises(SystemExit):
        trainings(tmp_path).run(range(3))
    assert log.read_text().split() == ["up", "stopped"]


def test_runs_after_a_signal_are_not_stopped(tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning_flows.app.commands.processes.KILL_AFTER", 0.3)
    several = trainings(tmp_path)
    write(log, "echo up >&3; exec sleep 60")
    assert isinstance(stop(tmp_path, log, 1, signal.SIGTERM, several=several), SystemExit)
    write(log, "sleep 0.5; exit 3")
    with pytest.raises(UsageError, match="ended with status 3"):
        several.run([0])


DEAF = "trap 'echo deaf >&3' TERM; echo up >&3; while true; do sleep 0.05; done"


@pytest.mark.parametrize("number", STOPS)
def test_a_second_signal_kills_all_processes(number: signal.Signals, tmp_path: Path, log: Path) -> None:
    write(log, DEAF)
    assert isinstance(stop(tmp_path, log, 1, signal.SIGTERM, number), SystemExit)
    assert log.read_text().split() == ["up", "deaf"]


def test_runs_that_ignore_the_signal_are_killed(tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(log, DEAF)
    monkeypatch.setattr("lightning_flows.app.commands.processes.KILL_AFTER", 0.2)
    assert isinstance(stop(tmp_path, log, 2, signal.SIGTERM), SystemExit)
    assert log.read_text().split().count("up") == 2


def test_the_previous_handler_determines_the_exit(tmp_path: Path, log: Path) -> None:
    def handler(number: int, frame: object) -> None:
        raise ZeroDivisionError

    write(log, "echo up >&3; exec sleep 60")
    before = signal.signal(signal.SIGTERM, handler)
    try:
        assert isinstance(stop(tmp_path, log, 1, signal.SIGTERM), ZeroDivisionError)
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(
    ("wanted", "found", "differ"),
    [
        (0.5, 1.5, True), (1.001, 0.001, True), (2, "2", False), ("2e-3", 0.002, False), (True, 1, False),
        ("a.b.CSF", "CSF", False), ("a.CSF", "a.CouplingFlow", True), ([1], [2], True),
        ([1, "2"], ("1", 2), False), ([1], [1, 2], True), (None, None, False), (None, 1, True), ("a.CSF", None, True),
        ([1], 1, True), ({}, {}, False), ({}, None, True),
    ],
)  # fmt: skip
def test_values_are_compared_regardless_of_notation(wanted: object, found: object, differ: bool) -> None:
    assert _differ(wanted, found) == differ
