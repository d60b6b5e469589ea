"""Training and evaluation of flows over vectors: points in the plane, and rows of numeric tables."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from lightning_flows.errors import ShapeError
from lightning_flows.flows import Flow
from lightning_flows.functional.probes import probes_by_item
from lightning_flows.modules.base import Batch
from lightning_flows.modules.components import PAPER_ADAM
from lightning_flows.modules.density import DensityModule
from lightning_flows.modules.plots import plot_rows
from lightning_flows.modules.schedules import WarmupCosine
from lightning_flows.transforms.vector.standardize import standardize_by


class VectorFlowModule(DensityModule):
    """Maximize the log-density of vectors, such as the rows of a table.

    Logs what :class:`DensityModule` does, in nats per row; the entropy is the attribute ``entropy`` of the data module,
    if it has one.

    A batch is a mapping with ``row`` ``(B, D)``, ``index`` ``(B,)`` and optionally ``true_log_prob`` ``(B,)``.

    Args:
        event_shape: (D,); on the command line that of the data; None takes it from a flow passed as an instance.
        flow: flow, as an instance or a function of ``event_shape``, such as a class or a partial of one.
        optimizer: optimizer of the parameters; the paper's by default.
        lr_scheduler: schedule of the learning rate; by default warm-up and a cosine, None for a constant rate.
        lr_interval: when the schedule steps; default: its own attribute ``interval``, or else each epoch.
        recompute: keep only the input of each step in training, and compute its activations again in the backward pass:
            much less memory for about a third more time, with the same gradients.

    Raises: ShapeError for a flow of other events, such as images.

    >>> import torch
    >>> from lightning_flows.flows import AutoregressiveFlow
    >>> module = VectorFlowModule((2,), AutoregressiveFlow).eval()
    >>> batch = {"row": torch.randn(4, 2), "index": torch.arange(4)}
    >>> torch.allclose(module.loss_of(module.log_prob(batch), batch), -module.model(batch["row"])), module.unit
    (True, 'nll')
    """

    def __init__(
        self,
        event_shape: Sequence[int] | None,
        flow: Callable[[Sequence[int]], Flow],
        *,
        optimizer: OptimizerCallable = PAPER_ADAM,
        lr_scheduler: LRSchedulerCallable | None = WarmupCosine,
        lr_interval: Literal["epoch", "step"] | None = None,
        recompute: bool = False,
    ) -> None:
        super().__init__(
            event_shape,
            flow,
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
            lr_interval=lr_interval,
            recompute=recompute,
        )
        if len(self.event_shape) != 1:
            raise ShapeError(
                f"expected vectors (D,); got a flow of {self.event_shape}: use ImageFlowModule for images, "
                "GraphFlowModule for graphs"
            )

    def forward(self, rows: Tensor) -> Tensor:
        """Log-density ``(B,)`` in nats of vectors ``(B, D)``."""
        return self.model.log_prob(rows)

    def training_inputs(self, batch: Batch, step: int) -> tuple[Tensor]:
        return (batch["row"],)

    def training_terms(self, rows: Tensor) -> dict[str, Tensor]:
        terms = self.model.log_prob_terms(rows)
        return {"latents": terms.latents, "log_det": terms.log_det}

    def log_prob(self, batch: Batch) -> Tensor:
        with probes_by_item(batch["index"]):
            return self.model.log_prob(batch["row"])

    def loss_of(self, log_prob: Tensor, batch: Batch) -> Tensor:
        return -log_prob

    def values(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The rows in the dtype of the flow, and a mask of ones."""
        rows = batch["row"].to(self.model.dtype)
        return rows, torch.ones_like(rows, dtype=torch.bool)

    def encode(self, batch: Batch, *, dtype: torch.dtype | None = None) -> tuple[Tensor, ...]:
        return self.model.encode(self.values(batch)[0], dtype=dtype)

    def decode(self, latents: Sequence[Tensor], batch: Batch, **options: Any) -> Tensor:
        return self.model.decode(latents, **options)

    def decode_reported(self, latents: Sequence[Tensor], batch: Batch, **options: Any) -> tuple[Tensor, list[Any]]:
        return self.model.decode_reported(latents, **options)

    @torch.no_grad()
    def sample(self, num: int, **options: Any) -> Tensor:
        """Draw vectors ``(num, D)``."""
        return self.model.sample(num, **options)

    def draw(self, samples: Tensor) -> Tensor:
        """A histogram for D = 1, a scatter plot for D = 2, and a matrix of both for more values, of the first five."""
        return plot_rows(samples)

    def on_fit_start(self) -> None:
        """Standardize by the ``moments()`` of the data module, if it has them and no checkpoint has set others."""
        super().on_fit_start()
        if (moments := getattr(self.datamodule, "moments", None)) is not None:
            standardize_by(self.model, *moments())

    def true_entropy(self) -> tuple[float, float] | None:
        entropy = getattr(self.datamodule, "entropy", None)
        return None if entropy is None else (entropy, 0.0)
