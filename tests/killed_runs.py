"""Kill a run repeatedly; run by test_interruptible.py in a process that has not used torch.

Usage: python -m tests.killed_runs FOLDER NUM. Each time the run resumes, completes a few steps and is killed at a
random moment after them, so that steps, validations and checkpoint writes are all hit. Finally it may finish.
Prints the steps after which it was killed.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

from lightning.pytorch import Callback

from lightning_flows.callbacks import Interruptible
from tests.interrupted import fit


class WriteSteps(Callback):
    """Write the number of each completed step to a pipe."""

    def __init__(self, pipe: int) -> None:
        self.pipe = pipe

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        os.write(self.pipe, bytes([trainer.global_step]))


def start(folder: Path) -> tuple[int, int]:
    """Resume the run in a new process; return its id and the pipe with its steps."""
    read, write = os.pipe()
    if pid := os.fork():
        os.close(write)
        return pid, read
    fit(folder, WriteSteps(write), Interruptible(every_n_minutes=1e-9))
    os._exit(0)


def main(folder: Path, num: int) -> None:
    chance = random.Random(0)
    for _ in range(num):
        pid, steps = start(folder)
        steps_done = [os.read(steps, 1) for _ in range(chance.randint(1, 2))]
        time.sleep(chance.uniform(0, 0.05))
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        print(*steps_done[-1], "killed" if os.WIFSIGNALED(status) else "finished", flush=True)
        os.close(steps)
    _, status = os.waitpid(start(folder)[0], 0)
    sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
