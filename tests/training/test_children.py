"""No process of a run outlives it, and none of others is killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.training.test_signals import ENVIRONMENT, ROOT, STUCK, end, start


def lives(child: int) -> bool:
    """Whether a process is running and not a zombie."""
    try:
        return Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def assert_ends(child: int) -> None:
    """Fail if a process still runs after a minute, and kill it."""
    for _ in range(600):
        if not lives(child):
            return
        time.sleep(0.1)
    os.kill(child, signal.SIGKILL)
    raise AssertionError("the child outlived its parent")


PARENT = """
import subprocess, sys, time
from lightning_flows.training.signals import ended_by_signals, end_children
with ended_by_signals():
    child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE, text=True)
    child.stdout.readline()
    print(child.pid, flush=True)
    print("READY", flush=True)
    if len(sys.argv) > 2:
        end_children()
        print(child.wait(), flush=True)
    else:
        time.sleep(120)
"""


def test_a_hanging_child_exits_after_its_parent() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT, STUCK],
        cwd=ROOT, env=ENVIRONMENT | {"LIGHTNING_FLOWS_GRACE": "1"}, text=True, stdout=subprocess.PIPE,
    )  # fmt: skip
    child = int(process.stdout.readline())
    process.kill()
    process.wait()
    assert_ends(child)


def test_only_children_of_the_run_are_killed() -> None:
    other = subprocess.Popen(["sleep", "60"], env={"PATH": os.environ["PATH"]})
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT, STUCK, "kill"], cwd=ROOT, env=ENVIRONMENT, text=True, stdout=subprocess.PIPE
    )
    assert process.communicate(timeout=120)[0].splitlines()[-1] == str(-signal.SIGKILL)
    assert other.poll() is None
    other.kill()
    other.wait()


def test_a_stopped_worker_does_not_outlive_a_forced_exit(tmp_path: Path) -> None:
    loader = f"""
import multiprocessing, os, pathlib, signal, time
child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
child.start()
os.kill(child.pid, signal.SIGSTOP)
pathlib.Path({str(tmp_path / "pid")!r}).write_text(str(child.pid))
"""
    process = start(loader + STUCK, LIGHTNING_FLOWS_GRACE="1")
    assert end(process, signal.SIGTERM)[0] == 143
    child = int((tmp_path / "pid").read_text())
    assert_ends(child)


@pytest.mark.slow
def test_a_stopped_rank_ends_the_run_after_the_timeout(tiny: list[str], tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "lightning_flows", "fit", *tiny, "--config=ddp4.yaml", "--trainer.devices=2",
        f"--trainer.logger.init_args.save_dir={tmp_path}", "--trainer.max_epochs=1000",
        "--trainer.strategy.init_args.timeout=0:00:30",
    ]  # fmt: skip
    process = subprocess.Popen(
        command, cwd=ROOT, env=ENVIRONMENT, text=True, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    while process.poll() is None and not (tmp_path / "demo/version_0/checkpoints/last.ckpt").exists():
        time.sleep(0.2)
    assert process.poll() is None, process.communicate()[1]
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(child), signal.SIGSTOP)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1
    lines = [line for line in errors.splitlines() if line.startswith(("error", "stopped")) or "Traceback" in line]
    assert [line.partition(" exited")[0] for line in lines] == ["error: another process of this run"], errors[-3000:]
    assert_ends(int(child))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lists children")
def test_trackers_of_shared_resources_are_not_killed() -> None:
    """They end on their own; killed, they would leave shared memory behind, and errors that hide the reason."""
    code = """if True:
        import os, subprocess, time
        from multiprocessing import resource_tracker
        from lightning_flows.training.signals import PARENT, end_children
        os.environ[PARENT] = str(os.getpid())
        resource_tracker.ensure_running()
        other = subprocess.Popen(["sleep", "60"])
        end_children()
        print(other.wait(), end=" ")
        time.sleep(0.2)
        (tracker,) = open(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read().split()
        print(open(f"/proc/{tracker}/stat").read().split()[2] in "RS")
    """
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == [str(-signal.SIGKILL), "True"], found
