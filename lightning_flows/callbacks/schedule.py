"""When callbacks look at training."""

from lightning.pytorch import Trainer


def is_due(trainer: Trainer) -> bool:
    """Whether the logger will write what is logged in the step at hand; ask before the optimiser's step is counted."""
    every = trainer.log_every_n_steps  # type: ignore[attr-defined]
    return bool(trainer.loggers) and every > 0 and (trainer.global_step + 1) % every == 0
