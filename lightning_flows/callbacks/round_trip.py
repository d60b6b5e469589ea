"""How exactly, and how fast, a flow is inverted."""

from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn

from lightning_flows.callbacks.watched import ValidationItems
from lightning_flows.errors import ConvergenceError
from lightning_flows.functional.fixed_point import InverseReport


class RoundTrip(ValidationItems):
    r"""Log :math:`\max |f^{-1}(f(x)) - x|` of a few items after each validation, in the precision of the model.

    ``inverse/round_trip_error`` is in pixel levels, or in units of the node features. Where layers are inverted by
    iteration, ``inverse/iterations`` is the mean over layers and items of how many they took, and
    ``inverse/most_iterations`` the largest. An inverse that does not converge is warned of and not logged.

    Args:
        num_items: validation items that are encoded and decoded.
    """

    def __init__(self, num_items: int = 8) -> None:
        super().__init__(num_items)

    @rank_zero_only
    def on_validation_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Go there and back."""
        if (watched := self.take(pl_module)) is None:
            return
        try:
            back, reports = pl_module.decode_reported(pl_module.encode(watched.batch), watched.batch)
        except ConvergenceError as refusal:
            rank_zero_warn(f"no round trip in epoch {trainer.current_epoch}: {refusal}")
            return
        error = (back - watched.x).abs()[watched.exists].max()
        pl_module.log("inverse/round_trip_error", error, rank_zero_only=True)
        if iterated := [report.iterations for report in reports if isinstance(report, InverseReport)]:
            iterations = torch.cat(iterated).float()
            pl_module.log("inverse/iterations", iterations.mean(), rank_zero_only=True)
            pl_module.log("inverse/most_iterations", iterations.max(), rank_zero_only=True)
