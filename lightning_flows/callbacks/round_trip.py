"""Accuracy and cost of the inverse."""

from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn

from lightning_flows.callbacks.base import ValidationItems
from lightning_flows.errors import ConvergenceError
from lightning_flows.functional.fixed_point import InverseReport


class RoundTrip(ValidationItems):
    r"""Log :math:`\max |f^{-1}(f(x)) - x|` of a few items after each validation, in the precision of the model.

    The inverse is exact, so the error is that of round-off; samples are decoded to the flow's default accuracy.
    ``inverse/round_trip_error`` is in pixel levels, or in units of the node features. If layers have iterative
    inverses, ``inverse/iterations`` is the mean number of iterations over layers and items, and
    ``inverse/most_iterations`` the largest. If an inverse does not converge, a warning is printed and nothing is
    logged; nor is it for a VAE, which has no inverse.

    Args:
        num_items: number of validation items to encode and decode.

    >>> from lightning_flows import AutoregressiveFlow, VectorFlowModule
    >>> from lightning_flows.app.default_trainer import default_trainer
    >>> from lightning_flows.data import ToyDataModule
    >>> trainer = default_trainer(fast_dev_run=True, callbacks=[RoundTrip(num_items=4)], enable_model_summary=False)
    >>> trainer.fit(VectorFlowModule((2,), AutoregressiveFlow), ToyDataModule(num_val=16))
    >>> bool(trainer.logged_metrics["inverse/round_trip_error"] < 1e-3)
    True
    """

    def __init__(self, num_items: int = 8) -> None:
        super().__init__(num_items)

    @rank_zero_only
    def on_validation_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        if (batch := self.take()) is None or not pl_module.is_invertible:
            return
        x, exists = pl_module.values(batch)
        try:
            decoded, reports = pl_module.decode_reported(pl_module.encode(batch), batch, accuracy="exact")
        except ConvergenceError as error:
            rank_zero_warn(f"no round trip in epoch {trainer.current_epoch}: {error}")
            return
        values = {"round_trip_error": (decoded - x).abs()[exists].max()}
        if found := [report.iterations for report in reports if isinstance(report, InverseReport)]:
            iterations = torch.cat(found).float()
            values |= {"iterations": iterations.mean(), "most_iterations": iterations.max()}
        pl_module.log_dict({f"inverse/{name}": value for name, value in values.items()}, rank_zero_only=True)
