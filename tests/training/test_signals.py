"""SIGTERM and Ctrl-C end every command with one line and the right status, and leave no process behind."""

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from lightning_flows.app.cli import main
from lightning_flows.modules import ImageFlowModule

ROOT = Path(__file__).parents[2]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
ENVIRONMENT.pop("LIGHTNING_FLOWS_PARENT", None)


def start(code: str, *args: str, **environment: str) -> subprocess.Popen[str]:
    """Run code in a new process until it prints READY."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *args],
        cwd=ROOT,
        env=ENVIRONMENT | environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    for line in process.stdout:
        if "READY" in line:
            return process
    raise AssertionError(process.communicate()[1])


def end(process: subprocess.Popen[str], number: int | None) -> tuple[int, list[str]]:
    """Exit status, and the lines about the exit."""
    if number is not None:
        process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    return process.returncode, [line for line in errors.splitlines() if line.startswith(("error", "stopped", "Trace"))]


OPTIONS = {"predict": ["--out=out.csv"], "sample": ["--out=out.png"]}


@pytest.mark.parametrize("command", ["validate", "test", "predict", "sample"])
def test_commands_with_nothing_to_save_exit_immediately(
    command: str, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def killed(*args: Any, **kwargs: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)

    for name in ("validation_step", "test_step", "predict_step", "sample"):
        monkeypatch.setattr(ImageFlowModule, name, killed)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained.parents[1], "run", ignore=shutil.ignore_patterns("tests.jsonl"))
    with pytest.raises(SystemExit) as info:
        main([command, "--ckpt_path=run/checkpoints/best.ckpt", *OPTIONS.get(command, [])])
    assert info.value.code == 143
    assert capsys.readouterr().err.splitlines()[-1] == "stopped by SIGTERM: nothing more is written"
    assert not list(Path().glob("out*"))
    assert not Path("run/tests.jsonl").exists()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_stopped_training_gives_one_reason(
    number: int,
    status: int,
    tiny: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(ImageFlowModule, "on_train_batch_start", lambda *_: os.kill(os.getpid(), number))
    with pytest.raises(SystemExit) as info:
        main(["fit", *tiny, f"--trainer.logger.save_dir={tmp_path}"])
    assert info.value.code == status
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("stopped")]
    assert line.startswith("stopped after step 1, as requested")


def test_ctrl_c_exits_immediately(trained: Path) -> None:
    code = """
    import sys, time
    from lightning_flows.app import cli
    from lightning_flows.modules import ImageFlowModule
    def slow(*args):
        print("READY", flush=True)
        time.sleep(60)
    ImageFlowModule.test_step = slow
    cli.main(sys.argv[1:])
    """
    process = start(code, "test", f"--ckpt_path={trained}")
    assert end(process, signal.SIGINT) == (130, ["stopped by Ctrl-C: nothing more is written"])


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_during_imports_exits_immediately(number: int, status: int, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("import time\nprint('READY', flush=True)\ntime.sleep(60)\n")
    code = f"""
    import runpy, sys
    sys.path.insert(0, {str(tmp_path)!r})
    sys.argv = ["lightning_flows", "fit", "--config=demo.yaml"]
    runpy.run_module("lightning_flows", run_name="__main__")
    """
    name = "Ctrl-C" if number == signal.SIGINT else "SIGTERM"
    assert end(start(code), number) == (status, [f"stopped by {name}: nothing more is written"])


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_workers_that_import_the_script_keep_their_handlers(method: str, tmp_path: Path) -> None:
    show = "print(signal.getsignal(signal.SIGINT).__name__, flush=True)"
    (tmp_path / "lightning-flows").write_text(  # as pip installs it
        "import multiprocessing, signal\nfrom lightning_flows.__main__ import main\n"
        f"def show():\n    {show}\n"
        "if __name__ == '__main__':\n    show()\n"
        f"    worker = multiprocessing.get_context('{method}').Process(target=show)\n"
        "    worker.start()\n    worker.join()\n"
    )
    shown = subprocess.check_output([sys.executable, tmp_path / "lightning-flows"], env=ENVIRONMENT, text=True)
    assert shown.split() == ["end_at_once", "default_int_handler"]


def test_fit_exits_before_its_data_is_read(tmp_path: Path) -> None:
    code = """
    import sys, time
    from lightning_flows.app import cli
    from lightning_flows.data import SamplePhotosDataModule
    def setup(self, stage):
        print("READY", flush=True)
        time.sleep(60)
    SamplePhotosDataModule.setup = setup
    cli.main(sys.argv[1:])
    """
    process = start(code, "fit", "--config=demo.yaml", f"--trainer.logger.init_args.save_dir={tmp_path}/runs")
    assert end(process, signal.SIGTERM) == (143, ["stopped by SIGTERM: nothing more is written"])
    assert not list((tmp_path / "runs").iterdir())


STUCK = """
import ctypes, signal, sys
from lightning_flows.training.signals import ended_by_signals
with ended_by_signals():
    mutex = ctypes.create_string_buffer(128)
    libc = ctypes.CDLL(None)
    libc.pthread_mutex_init(mutex, None)
    libc.pthread_mutex_lock(mutex)
    for number in (signal.SIGTERM, signal.SIGINT):  # one may come before the next line
        signal.signal(number, lambda *_: None)
    print("READY", flush=True)
    libc.pthread_mutex_lock(mutex)  # never comes back to Python, as a collective that waits for another process
"""


def test_a_hanging_process_is_forced_to_exit() -> None:
    process = start(STUCK, LIGHTNING_FLOWS_GRACE="1")
    status, (line,) = end(process, signal.SIGTERM)
    assert status == 143
    assert line.startswith("error: ended by SIGTERM while waiting for another process of the run")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_does_not_interrupt_a_blocking_call_is_handled(number: int) -> None:
    """As if it had come just before the call: another thread takes it, and the call would not return."""
    code = f"""
    import signal, time
    from lightning_flows.training.signals import Interrupted, ended_by_signals
    try:
        with ended_by_signals():
            signal.pthread_sigmask(signal.SIG_BLOCK, [{int(number)}])  # in the main thread
            print("READY", flush=True)
            time.sleep(100)
    except Interrupted as interrupted:
        print(interrupted.number, flush=True)
    """
    process = start(code)
    process.send_signal(number)
    assert process.communicate(timeout=60)[0].split() == [str(int(number))]


def test_a_second_ctrl_c_forces_the_exit_regardless_of_the_grace(tmp_path: Path) -> None:
    process = start(STUCK, LIGHTNING_FLOWS_GRACE="1000")
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)  # two simultaneous signals count as one
    assert end(process, signal.SIGINT)[0] == 130


def test_a_busy_process_may_finish() -> None:
    code = """
    import signal, time
    from lightning_flows.training.signals import ended_by_signals
    with ended_by_signals():
        signal.signal(signal.SIGTERM, lambda *_: None)  # as Interruptible, which finishes the step
        print("READY", flush=True)
        start = time.process_time()
        while time.process_time() - start < 4:
            pass
        print("done", flush=True)
    """
    process = start(code, LIGHTNING_FLOWS_GRACE="1.5")
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert (process.returncode, output) == (0, "done\n")


@pytest.mark.parametrize(("in_training", "status"), [(True, 0), (False, 143)])
def test_only_training_may_wait_long(in_training: bool, status: int) -> None:
    """For another process that draws samples, or for a disk."""
    code = f"""
    import signal, time
    from lightning_flows.training import signals
    signals.SECONDS = 1.0
    with signals.ended_by_signals():
        if {in_training}:
            signal.signal(signal.SIGTERM, lambda *_: None)  # as Interruptible, which finishes the step
        else:
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signals.NUDGE])  # as a call that hangs
        print("READY", flush=True)
        time.sleep(6)
        print("done", flush=True)
    """
    process = start(code)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert (process.returncode, "done" in output) == (status, in_training)


def test_handlers_are_restored() -> None:
    from lightning_flows.training.signals import PARENT, Interrupted, ended_by_signals

    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]

    def killed() -> None:
        with ended_by_signals():
            assert os.environ[PARENT] == str(os.getpid())
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)

    with pytest.raises(Interrupted) as info:
        killed()
    assert info.value.code == 143
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before
    assert PARENT not in os.environ
