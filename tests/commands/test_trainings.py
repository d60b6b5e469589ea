import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from lightning_flows.commands.trainings import Trainings
from lightning_flows.errors import UsageError

CONFIG = "table4/mog4_gnf.yaml"


def trainings(runs: Path, jobs: int = 1, **options) -> Trainings:
    return Trainings(runs, **{"overlays": [], "pictures": None, "jobs": jobs, **options})


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What processes in place of the application's write down; set their body by writing the script."""
    script = tmp_path / "process"
    script.touch(mode=0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    return tmp_path / "log"


def write(log: Path, body: str) -> None:
    (log.parent / "process").write_text(f"#!/bin/sh\nexec 3>>{log}\n{body}\n")


def test_other_settings_are_other_runs(tmp_path: Path) -> None:
    several = trainings(tmp_path, overlays=["cpu.yaml", "my/own.yaml"], pictures="some/pictures.tar")
    assert several.folder("table1/conv1x1.yaml", 3) == tmp_path / "conv1x1_cpu_own_pictures_seed3"
    assert trainings(tmp_path).folder(CONFIG, 0) == tmp_path / "mog4_gnf_seed0"


def test_a_run_that_fails_stops_those_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []

    def fit_and_test(config: str, seed: int) -> None:
        started.append(seed)
        if seed == 1:
            raise UsageError("it failed")
        time.sleep(1.0 if seed == 0 else 0.05)  # the first is still at work

    several = trainings(tmp_path, jobs=2)
    monkeypatch.setattr(several, "_fit_and_test", fit_and_test)
    with pytest.raises(UsageError, match="it failed"):
        several.run([CONFIG], range(30))
    assert len(started) < 10


def test_lines_of_runs_at_once_begin_with_their_names(tmp_path: Path, log: Path, capfd) -> None:
    write(log, r"echo going; printf 'caf\351\n' >&2; exit 3")
    with pytest.raises(UsageError, match=r"`fit` of mog4_gnf_seed\d ended with status 3"):
        trainings(tmp_path, jobs=2).run([CONFIG], [0, 1])
    out, told = capfd.readouterr()
    assert out == ""
    assert told.count("run 1 of 2: table4/mog4_gnf.yaml, seed 0") == 1
    for seed in (0, 1):
        assert f"mog4_gnf_seed{seed}: going\nmog4_gnf_seed{seed}: caf\N{REPLACEMENT CHARACTER}\n" in told


def test_one_run_alone_has_the_terminal_and_leaves_the_standard_output_free(tmp_path: Path, log: Path, capfd) -> None:
    write(log, "echo going; exit 3")
    with pytest.raises(UsageError):
        trainings(tmp_path).run([CONFIG], [0])
    out, told = capfd.readouterr()
    assert out == ""
    assert "\ngoing\n" in told


def test_each_run_is_made_once_and_tested(tmp_path: Path, log: Path, capfd) -> None:
    name = tmp_path / "mog4_gnf_seed0/version_0"
    write(
        log,
        f'echo "$3" >&3; if [ $3 = fit ]; then mkdir -p {name}/checkpoints; touch {name}/checkpoints/best.ckpt; '
        f"else touch {name}/tests.jsonl; fi",
    )
    trainings(tmp_path).run([CONFIG], [0, 0])
    trainings(tmp_path).run([CONFIG], [0])
    assert log.read_text().split() == ["fit", "test"]
    assert "1 of 1 runs done, 0:00:00 left" in capfd.readouterr().err


@pytest.mark.parametrize("jobs", [1, 2])
def test_sigterm_stops_all(jobs: int, tmp_path: Path, log: Path) -> None:
    write(log, "trap 'echo stopped >&3; kill $!; exit 0' TERM; echo up >&3; sleep 60 & wait")

    def ask() -> None:
        while not log.exists() or log.read_text().count("up") < jobs:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    asking = threading.Thread(target=ask)
    asking.start()
    with pytest.raises(SystemExit) as error:
        trainings(tmp_path, jobs=jobs).run([CONFIG], range(5))
    asking.join()
    assert error.value.code == 128 + signal.SIGTERM
    assert sorted(log.read_text().split()) == ["stopped"] * jobs + ["up"] * jobs  # and no other was started
    assert signal.getsignal(signal.SIGTERM) is before
