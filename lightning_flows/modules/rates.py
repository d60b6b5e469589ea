"""Learning rates of any optimizers and schedules, for resuming with another ``learning_rate``."""

from typing import Any

from lightning.pytorch import Trainer


class Rates:
    """Learning rates as configured, before those of a checkpoint are loaded."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.configured = [[_first(group) for group in each.param_groups] for each in trainer.optimizers]

    def scale(self, factor: float) -> None:
        """Scale the rates loaded from a checkpoint, except those that do not depend on ``learning_rate``."""
        if factor == 1:
            return
        for optimizer, rates in zip(self.trainer.optimizers, self.configured, strict=False):
            for group, rate in zip(optimizer.param_groups, rates, strict=False):
                if _first(group) == rate:
                    continue  # saved as configured now
                for key in {"lr", "initial_lr", "max_lr", "min_lr"} & group.keys():
                    group[key] = group[key] * factor
        for config in self.trainer.lr_scheduler_configs:
            schedule: Any = config.scheduler
            firsts = [_first(group) for group in schedule.optimizer.param_groups]
            if hasattr(schedule, "base_lrs"):
                schedule.base_lrs = firsts


def _first(group: dict[str, Any]) -> float:
    return float(group.get("initial_lr", group["lr"]))
