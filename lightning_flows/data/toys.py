"""Toy densities in the plane, exactly known."""

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from lightning_flows.data.generated import GeneratedDataModule
from lightning_flows.distributions.planar import PlanarDensity
from lightning_flows.distributions.toys import toy


class Points(NamedTuple):
    """Draws points from a density."""

    density: PlanarDensity

    def draw(self, num: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Draw ``{"row": float32 (num, 2)}``."""
        return {"row": self.density.sample(num, generator=generator)}


class ToyDataModule(GeneratedDataModule):
    """Points drawn from a toy density: new ones at each training step, fixed ones for evaluation.

    Batches are ``{"row": float32 (B, 2), "index": int64 (B,)}``. Evaluation batches also have ``"true_log_prob"``
    float64 (B,), the exact log-density in nats. A training point depends only on the seed, epoch, step and rank; no
    point is repeated, within a split or across splits.

    Args:
        name: density that points are drawn from.
        noise: standard deviation of the noise of each point, from 0.03 to 1; by default 0.1, of eight_gaussians 0.5, of
            pinwheel 0.2. The checkerboard is uniform and has none.
        batch_size: points per training batch and device.
        eval_batch_size: points per validation, test or prediction batch and device.
        steps_per_epoch: training batches per epoch and device.
        num_val: number of validation points.
        num_test: number of test points, which ``predict`` scores as well.
        kwargs: other arguments of :class:`FlowDataModule`.

    Raises: UsageError for a number below 1; DataError for an unknown name or a noise out of range.

    >>> data = ToyDataModule(name="checkerboard", batch_size=8)
    >>> data.setup("fit")
    >>> data.event_shape, next(iter(data.train_dataloader()))["row"].shape, round(data.entropy, 4)  # log 32
    ((2,), torch.Size([8, 2]), 3.4657)
    """

    items = "points"

    def __init__(
        self,
        *,
        name: Literal["moons", "checkerboard", "rings", "spirals", "pinwheel", "eight_gaussians"] = "moons",
        noise: float | None = None,
        batch_size: int = 512,
        eval_batch_size: int | None = 4096,
        steps_per_epoch: int = 500,
        num_val: int = 4096,
        num_test: int = 16384,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            batch_size=batch_size,
            eval_batch_size=eval_batch_size,
            steps_per_epoch=steps_per_epoch,
            num_val=num_val,
            num_test=num_test,
            **kwargs,
        )
        self.density = toy(name, noise)

    @property
    def event_shape(self) -> tuple[int]:
        return (2,)

    @property
    def entropy(self) -> float:
        """Entropy of the density in nats."""
        return self.density.entropy

    @property
    def source(self) -> Points:
        return Points(self.density)

    def true_log_prob(self, items: dict[str, Tensor]) -> Tensor:
        return self.density.log_prob(items["row"])
