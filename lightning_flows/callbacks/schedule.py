"""When callbacks look at training."""

from lightning.pytorch import Trainer

from lightning_flows.errors import UsageError


def is_due(trainer: Trainer) -> bool:
    """Whether the logger will write what is logged in the step at hand; ask before the optimiser's step is counted."""
    steps = trainer.log_every_n_steps  # type: ignore[attr-defined]
    return bool(trainer.loggers) and steps > 0 and (trainer.global_step + 1) % steps == 0


def every(num: int) -> int:
    """Return a number of epochs between two times that a callback looks. Raises: UsageError if it is below 1."""
    if num < 1:
        raise UsageError(f"expected every_n_epochs of at least 1; got {num}: leave the callback out for none")
    return num
