import errno
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import distributed

from lightning_flows.app.cli import main
from lightning_flows.app.commands import table
from lightning_flows.app.error_messages import explain
from lightning_flows.app.terminal import plain
from lightning_flows.errors import DataError, OutputError, UsageError
from lightning_flows.files import ADVICE

NOT_COMPILED = "Torch not compiled with CUDA enabled"
IN_WORKER = (
    "Caught {0} in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n  File x\n{0}: {1}\n"
)


def raised(error: BaseException, *, while_handling: BaseException | None = None, how: str = "context") -> BaseException:
    """Raise the error, possibly in the handler of another one, and return it."""
    try:
        if while_handling is None:
            raise error
        try:
            raise while_handling
        except BaseException as inner:
            if how == "context":
                raise error  # noqa: B904 - as a bug in a handler does
            raise error from (inner if how == "cause" else None)
    except BaseException as found:
        return found


GONE = "another process of this run exited or does not respond: "
ENVIRONMENT = [
    (OSError(errno.ENOSPC, "No space left on device"), r"could not write its files \(No space left on device\)"),
    (OSError(errno.EDQUOT, "Disk quota exceeded", "a/b"), r"could not write a/b \(Disk quota exceeded\): free space"),
    (torch.OutOfMemoryError("CUDA out of memory. Tried"), "the device is out of memory: use a smaller --data.batch"),
    (RuntimeError("CUDA error: out of memory\nCUDA kernel errors"), "the device is out of memory"),
    (MemoryError(), r"the host is out of memory: use a smaller --data.batch_size \(MemoryError\)"),
    (MemoryError("Unable to allocate 1 TiB"), r"the host .*\(Unable to allocate 1 TiB\)"),
    (
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you"),
        "the host is out of memory",
    ),
    (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."), r"worker exited .*worker \(pid 7\)"),
    (RuntimeError("DataLoader worker (pid(s) 7, 8) exited unexpectedly"), r"worker exited .*worker \(pid\(s\) 7, 8\)"),
    (RuntimeError("DataLoader timed out after 30 seconds"), "does not respond .*timed out after 30 seconds"),
    (RuntimeError("[pair.cc:553] Connection closed by peer [127.0.0.1]:1"), GONE),
    (RuntimeError("[unbound_buffer.cc] Timed out waiting 1800000ms for recv operation to complete"), GONE),
    (RuntimeError("Gloo connectFullMesh failed with [pair.cc] no error"), GONE),
    (RuntimeError("[gloo/transport/tcp/pair.cc:547] Application timeout caused pair closure"), GONE),
    (distributed.DistNetworkError("client socket failed to connect: Connection refused"), GONE),
    (distributed.DistStoreError("Timed out after 1801 seconds waiting for clients. 1/2 clients joined."), GONE),
    (distributed.DistStoreError("wait timeout after 300000ms, keys: /default_pg/0//cuda//0"), GONE),
    (distributed.DistBackendError("Watchdog caught collective operation timeout: WorkNCCL(SeqNum=1)"), GONE),
    (
        distributed.DistNetworkError("The server socket has failed to listen. port: 29777, code: -98, EADDRINUSE"),
        "the port 29777 is in use by another process: set another in MASTER_PORT",
    ),
]
USER = [
    (UsageError("expected this; got that"), "expected this; got that"),
    (FileNotFoundError(errno.ENOENT, "No such file", "x"), "No such file.*x"),
    (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "Resource temporarily unavailable"),
    (
        DataError(IN_WORKER.format("lightning_flows.errors.DataError", "expected an image; got a.png")),
        "^expected an im",
    ),
    (FileNotFoundError(IN_WORKER.format("FileNotFoundError", "[Errno 2] No such file: 'x'")), r"^\[Errno 2\] No such"),
    (MisconfigurationException("No supported gpu backend found!"), "No supported gpu"),
    (
        ModuleNotFoundError("No module named 'wandbx'", name="wandbx.sdk"),
        "wandbx is not installed: run `pip install",
    ),
    (ModuleNotFoundError("Requirement 'wandb' not met. HINT: Try running `pip install wandb`"), "pip install wandb"),
    (
        NotImplementedError("\"triangular_solve_cpu\" not implemented for 'Half'"),
        "operations in Half: choose another --tr",
    ),
    (NotImplementedError("\"x\" not implemented for 'BFloat16'"), "BFloat16"),
    (AssertionError(NOT_COMPILED), f"{NOT_COMPILED}: choose a device of this machine"),
    (RuntimeError("Invalid device string: 'xx'"), "'xx': choose a device"),
]


@pytest.mark.parametrize(("error", "message"), ENVIRONMENT + USER, ids=str)
def test_actionable_errors_are_one_line(error: BaseException, message: str) -> None:
    for one in (raised(error), raised(RuntimeError("around it"), while_handling=error, how="cause")):
        found = explain(one)
        assert found is not None
        assert re.search(message, found)
        assert "\n" not in found
        assert "--ckpt_path=last" not in found


@pytest.mark.parametrize(("error", "message"), ENVIRONMENT, ids=str)
def test_errors_of_the_environment_are_found_in_the_context(error: BaseException, message: str) -> None:
    found = explain(raised(RuntimeError("unexpected position"), while_handling=error))
    assert found is not None
    assert re.search(message, found)
    assert explain(raised(RuntimeError("unexpected position"), while_handling=error, how="suppressed")) is None


@pytest.mark.parametrize(("error", "message"), USER, ids=str)
def test_bugs_in_handlers_keep_their_traceback(error: BaseException, message: str) -> None:
    for how in ("context", "suppressed"):
        assert explain(raised(KeyError("x"), while_handling=error, how=how)) is None


@pytest.mark.parametrize(
    "error",
    [
        KeyError("x"),
        RuntimeError("shapes cannot be multiplied"),
        ValueError("too many values to unpack"),
        TypeError("f() missing 1 required positional argument"),
        OSError("could not get source code"),
        AssertionError(),
        NotImplementedError("\"x\" not implemented for 'Long'"),
        ModuleNotFoundError("No module named 'lightning_flows.nope'", name="lightning_flows.nope"),
        ModuleNotFoundError("No module named 'torch.nope'", name="torch.nope"),
        KeyError(IN_WORKER.format("KeyError", "'x'")),
        RuntimeError(IN_WORKER.format("RuntimeError", "shapes cannot be multiplied")),
        UnicodeEncodeError("ascii", "é", 0, 1, "ordinal not in range"),
    ],
    ids=str,
)
def test_bugs_keep_their_traceback(error: BaseException) -> None:
    assert explain(raised(error)) is None


def test_circular_causes_end() -> None:
    one, other = KeyError("1"), KeyError("2")
    one.__cause__, other.__cause__ = other, one
    assert explain(one) is None


def test_advice_depends_on_the_command() -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    assert "--ckpt_path=last" in str(explain(full, "fit"))
    assert "--ckpt_path=last" in str(explain(OutputError(f"expected to write x: {ADVICE}"), "fit"))
    for command in ("sample", "figure", "predict", "test", "report", "table"):
        for error in (full, OutputError(f"expected to write x: {ADVICE}"), RuntimeError("Connection closed by peer")):
            assert str(explain(error, command)).endswith(" rerun the command")
    assert "smaller --batch_size or --num (" in str(explain(MemoryError(), "sample"))
    assert "smaller --num or --dpi (" in str(explain(MemoryError(), "figure"))


def test_control_characters_are_escaped() -> None:
    found = explain(UsageError("expected a folder; got \x1b]0;evil\x07\n\u202egnp.a\udcff"))
    assert found == r"expected a folder; got \x1b]0;evil\x07 \u202egnp.a\udcff"
    assert plain("− ± é\n") == "− ± é\n"


@pytest.mark.parametrize(
    ("package", "message"),
    [
        (
            "wandb.errors.errors",
            r"^Weights & Biases failed \(no server\): .*use it locally: --trainer.logger.offline true$",
        ),
        (
            "mlflow.exceptions",
            r"^MLflow failed \(no server\): rerun .*--ckpt_path=last.*, or .* sqlite:///runs/mlflow.db$",
        ),
    ],
)
def test_errors_of_loggers_are_one_line(package: str, message: str) -> None:
    error = type("Error", (Exception,), {"__module__": package})("no server\nwith details")
    assert re.search(message, str(explain(error, "fit")))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--trainer.accelerator=tpu", "pip install"),
        ("--trainer.accelerator=nonsense", "invalid accelerator name"),
        ("--trainer.devices=0", "devices='0'"),
        ("--trainer.strategy=fsdp", "requires a GPU"),
        ("--trainer.strategy=deepspeed", "pip install -U deepspeed"),
        ("--trainer.strategy=nonsense", "invalid strategy name"),
        ("--trainer.max_steps=-5", "max_steps"),
        ("--trainer.limit_val_batches=2.5", "limit_val_batches"),
        ("--trainer.profiler=nonsense", "profiler"),
        ("--seed_everything=-1", "-1 is not in bounds"),
        ("--trainer.logger=CometLogger", "pip install -U 'comet-ml"),
    ],
)
def test_common_mistakes(
    option: str, message: str, tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = [] if "logger" in option else [f"--trainer.logger.init_args.save_dir={tmp_path}"]
    with pytest.raises(SystemExit) as error:
        main(["fit", *tiny, "--trainer.accelerator=cpu", *folder, option])
    assert error.value.code == 1
    output = capsys.readouterr().err
    assert message in output
    assert "Traceback" not in output
    assert output[output.index("error: ") :].count("\n") == 1


def test_any_terminal_encoding_prints_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "out").open("w", encoding="ascii") as out:
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr("lightning_flows.app.cli.function", lambda name: say("−ELBO"))
        main(["table", "1"])
    assert (tmp_path / "out").read_text() == "\\u2212ELBO\n"


def say(text: str) -> Callable[..., None]:
    def command(number: int) -> None:
        print(text)

    command.__doc__ = table.__doc__
    return command


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (lambda weights: torch.optim.Muon(weights), "Muon only supports 2D parameters"),
        (lambda weights: torch.optim.SparseAdam(weights).step(), "SparseAdam does not support dense gradients"),
        (lambda weights: torch.optim.lr_scheduler.OneCycleLR(torch.optim.SGD(weights), 0.1), "must define either"),
    ],
)
def test_what_an_optimizer_or_a_schedule_refuses_is_one_line(start: Callable[[object], object], message: str) -> None:
    weight = torch.nn.Parameter(torch.ones(2, 1, 1))
    weight.grad = torch.ones(2, 1, 1)
    with pytest.raises((RuntimeError, ValueError)) as info:
        start([weight])
    found = explain(info.value)
    assert found is not None
    assert message in found
    assert "choose another --optimizer or --lr_scheduler" in found
