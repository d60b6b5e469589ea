"""Progress of a training."""

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Timer


def fit_share(trainer: Trainer, batches: int) -> float | None:
    """Share of a training that is done, by the first of its limits on epochs, steps and time that will be reached.

    None without such a limit.

    Args:
        batches: number of batches done in the current epoch.
    """
    shares = []
    if trainer.max_epochs and trainer.max_epochs > 0:
        of_epoch = batches / trainer.num_training_batches  # 0 for an infinite loader
        shares.append((trainer.current_epoch + of_epoch) / trainer.max_epochs)
    if trainer.max_steps > 0:
        shares.append(trainer.global_step / trainer.max_steps)
    for timer in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(timer, Timer) and (left := timer.time_remaining()) is not None:
            shares.append(timer.time_elapsed() / (timer.time_elapsed() + left))
    return min(1.0, max(shares)) if shares else None
