"""Interrupted and resumed runs equal an uninterrupted one, bit for bit."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import StochasticWeightAveraging

from lightning_flows.callbacks import Interruptible
from lightning_flows.modules import ImageFlowModule
from tests.interrupted import (
    CURRENT_AND_AVERAGE,
    EPOCHS,
    STEPS,
    VAL_BATCHES,
    Ask,
    assert_same_run,
    curves,
    fit,
    stop,
)
from tests.versions import needs_averages


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    fit(folder)
    assert {tag: len(curve) for tag, curve in curves(folder).items()} == {"train/bpd": STEPS * EPOCHS, "val/bpd": 3}
    return folder


@pytest.mark.parametrize(
    ("where", "epoch", "batch"),
    [
        *(("train", epoch, i) for epoch in (0, 1) for i in range(STEPS)),
        *(("val", epoch, i) for epoch in (0, 1) for i in range(VAL_BATCHES)),
        ("train", 2, STEPS - 1),
        ("val", 2, VAL_BATCHES - 1),
    ],
)
def test_a_run_stopped_anywhere_resumes_bit_for_bit(
    whole: Path, tmp_path: Path, where: str, epoch: int, batch: int
) -> None:
    assert stop(tmp_path, Ask(where, epoch, batch)) == 0
    fit(tmp_path)
    assert_same_run(tmp_path, whole)


def test_a_run_stopped_several_times_resumes_bit_for_bit(whole: Path, tmp_path: Path) -> None:
    for where, epoch, batch in (("train", 0, 1), ("train", 0, 2), ("val", 0, 1), ("val", 0, 0), ("train", 1, 4)):
        stop(tmp_path, Ask(where, epoch, batch))
    fit(tmp_path)
    assert_same_run(tmp_path, whole)


@pytest.mark.parametrize("moment", [("train", 1, 2), ("val", 1, 1)])
def test_data_loading_workers_do_not_change_the_result(whole: Path, tmp_path: Path, moment: tuple) -> None:
    stop(tmp_path, Ask(*moment), num_workers=2)
    fit(tmp_path, num_workers=1)
    assert_same_run(tmp_path, whole)


@pytest.mark.parametrize("steps", [3, 13])
def test_epochs_of_a_part_of_the_data_or_several_passes_resume_bit_for_bit(steps: int, tmp_path: Path) -> None:
    fit(tmp_path / "whole", steps_per_epoch=steps)
    for number, moment in enumerate([("train", 1, steps - 1), ("val", 0, 1), ("train", 2, 0)]):
        folder = tmp_path / str(number)
        stop(folder, Ask(*moment), steps_per_epoch=steps)
        fit(folder, steps_per_epoch=steps)
        assert_same_run(folder, tmp_path / "whole")


def test_a_killed_run_resumes_from_the_last_checkpoint_within_the_epoch(whole: Path, tmp_path: Path) -> None:
    class Die(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
            if (trainer.current_epoch, batch_idx) == (1, 3):
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fit(tmp_path, Interruptible(every_n_minutes=1e-9), Die())
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == STEPS + 3
    fit(tmp_path)
    assert_same_run(tmp_path, whole)


def test_curves_have_no_gap_after_a_kill_between_a_step_and_its_log(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(self: ImageFlowModule, outputs: object, batch: object, batch_idx: int) -> None:
        if (self.current_epoch, batch_idx) == (1, 2):
            raise ZeroDivisionError

    monkeypatch.setattr(ImageFlowModule, "on_train_batch_end", die)  # called after the callbacks, before Lightning logs
    with pytest.raises(ZeroDivisionError):
        fit(tmp_path, Interruptible(every_n_minutes=1e-9))
    monkeypatch.undo()
    fit(tmp_path)
    assert_same_run(tmp_path, whole)


def test_checkpoints_within_an_epoch_can_be_disabled(tmp_path: Path) -> None:
    stop(tmp_path, Ask("train", 0, 1), Interruptible(every_n_minutes=0))
    before = (tmp_path / "last.ckpt").stat().st_mtime_ns

    class Look(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
            if trainer.current_epoch == 0:
                assert (tmp_path / "last.ckpt").stat().st_mtime_ns == before

    fit(tmp_path, Look())


def test_accumulated_gradients_are_not_lost(tmp_path: Path) -> None:
    stop(tmp_path / "stopped", Ask("train", 1, 0), accumulate_grad_batches=2)
    fit(tmp_path / "stopped", accumulate_grad_batches=2)
    fit(tmp_path / "whole", accumulate_grad_batches=2)
    assert_same_run(tmp_path / "stopped", tmp_path / "whole")


@pytest.mark.parametrize("killed", [False, True])
def test_gradients_accumulated_before_a_validation_are_not_lost(tmp_path: Path, killed: bool) -> None:
    class Die(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
            if (trainer.current_epoch, batch_idx) == (1, 4):  # the validation was after batch 2 of this epoch
                raise ZeroDivisionError

    options = {"accumulate_grad_batches": 2, "val_check_interval": 3}
    if killed:
        with pytest.raises(ZeroDivisionError):
            fit(tmp_path / "stopped", Die(), **options)
    else:
        stop(tmp_path / "stopped", Ask("val", 1, 1), **options)
    fit(tmp_path / "stopped", **options)
    fit(tmp_path / "whole", **options)
    assert_same_run(tmp_path / "stopped", tmp_path / "whole")


def test_a_validation_within_an_epoch_is_not_skipped(tmp_path: Path) -> None:
    options = {"val_check_interval": 2}
    for epoch in (0, 1):
        for batch in range(4):
            folder = tmp_path / f"{epoch}{batch}"
            stop(folder, Ask("train", epoch, batch), **options)
            fit(folder, **options)
    fit(tmp_path / "whole", **options)
    for folder in sorted(tmp_path.glob("[01]?")):
        assert_same_run(folder, tmp_path / "whole")


@pytest.mark.parametrize("moment", [("train", 1, 2), ("val", 1, 1)])
def test_averaged_weights_equal_those_of_an_uninterrupted_run(tmp_path: Path, moment: tuple) -> None:
    def average() -> StochasticWeightAveraging:
        return StochasticWeightAveraging(swa_lrs=1e-2, swa_epoch_start=1, annealing_epochs=2)

    stop(tmp_path / "stopped", Ask(*moment), average())
    fit(tmp_path / "stopped", average())
    fit(tmp_path / "whole", average())
    assert_same_run(tmp_path / "stopped", tmp_path / "whole")


@needs_averages
@pytest.mark.parametrize("moment", [("train", 1, 2), ("val", 1, 1)])
def test_a_moving_average_equals_that_of_an_uninterrupted_run(tmp_path: Path, moment: tuple) -> None:
    from lightning.pytorch.callbacks import EMAWeightAveraging

    stop(tmp_path / "stopped", Ask(*moment), EMAWeightAveraging(decay=0.5))
    fit(tmp_path / "stopped", EMAWeightAveraging(decay=0.5))
    fit(tmp_path / "whole", EMAWeightAveraging(decay=0.5))
    assert_same_run(tmp_path / "stopped", tmp_path / "whole")
    current, average = (torch.load(tmp_path / "whole/last.ckpt", weights_only=True)[key] for key in CURRENT_AND_AVERAGE)
    assert any(not torch.equal(value, average[name]) for name, value in current.items())


@pytest.mark.parametrize(("number", "code"), [(signal.SIGUSR1, 0), (signal.SIGINT, 130)])
def test_sigusr1_and_ctrl_c_stop_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], number: int, code: int
) -> None:
    before = signal.getsignal(number)
    assert stop(tmp_path, Ask("train", 0, 2, number)) == code
    assert (
        f"stopped after step 3, as requested: --ckpt_path=last resumes from {tmp_path / 'last.ckpt'}"
        in capsys.readouterr().err
    )
    assert signal.getsignal(number) == before


def test_a_second_ctrl_c_exits_immediately(tmp_path: Path) -> None:
    class Twice(Ask):
        def _ask(self, *moment) -> None:
            super()._ask(*moment)
            super()._ask(*moment)

    with pytest.raises(SystemExit) as info:
        fit(tmp_path, Twice("train", 0, 2, signal.SIGINT))
    assert info.value.code == 130
    assert not (tmp_path / "last.ckpt").exists()


@pytest.mark.slow
def test_a_run_killed_ten_times_ends_bit_for_bit_equal(whole: Path, tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    result = subprocess.run(
        [sys.executable, "-m", "tests.killed_runs", str(tmp_path), "10"],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": str(torch.get_num_threads())},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    print(result.stdout)
    assert result.stdout.count("killed") >= 8  # the last ones may come after the run has ended
    assert_same_run(tmp_path, whole)


class Strategy:
    """Reduce with another rank that has its own request; count the calls."""

    def __init__(self, other: list[float]) -> None:
        self.other, self.num_calls = torch.tensor(other), 0

    def reduce(self, value: torch.Tensor, reduce_op: str) -> torch.Tensor:
        assert reduce_op == "max"
        self.num_calls += 1
        return torch.maximum(value, self.other)


@pytest.mark.parametrize(("seconds", "num_calls"), [(0.02, 2), (0.3, 34), (2.0, 100)])
def test_ranks_agree_about_once_per_second(seconds: float, num_calls: int) -> None:
    """The time of a step is that of the slowest rank."""
    strategy, callback = Strategy([0, 0, seconds]), Interruptible()
    trainer = SimpleNamespace(world_size=2, strategy=strategy)
    for step in range(100):
        callback.on_train_batch_end(trainer, SimpleNamespace(device="cpu"), None, None, step)
    assert strategy.num_calls == num_calls
    assert not callback._stop_requested


def test_a_signal_on_another_rank_stops_this_one() -> None:
    trainer = SimpleNamespace(world_size=2, strategy=Strategy([1, 0, 0.5]))
    callback = Interruptible()
    callback.on_train_batch_end(trainer, SimpleNamespace(device="cpu"), None, None, 0)
    assert callback._stop_requested
