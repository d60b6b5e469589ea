"""The strangest images of a prediction."""

from typing import NamedTuple

import torch
from torch import Tensor

from lightning_flows.functional.ranks import gather_objects


class Shown(NamedTuple):
    """Images uint8 ``(K, C, H, W)`` with their scores and the indices of their items ``(K,)``."""

    score: Tensor
    number: Tensor
    images: Tensor

    def highest(self, num: int) -> "Shown":
        """The ``num`` with the highest scores, the highest first; ties in the order of their indices."""
        order = self.number.argsort()
        chosen = order[self.score[order].argsort(descending=True, stable=True)[:num]]
        return Shown(*(each[chosen] for each in self))


class Strangest:
    """Keeps the ``num`` images with the highest scores among all batches.

    Args:
        num: number of images.
    """

    def __init__(self, num: int) -> None:
        self.num = num
        self._kept: Shown | None = None

    def add(self, score: Tensor, index: Tensor, images: Tensor) -> None:
        """Add a batch."""
        batch = Shown(score.cpu(), index.cpu(), images.cpu())
        self._kept = _joined([each for each in (self._kept, batch) if each is not None]).highest(self.num)

    def gathered(self) -> Shown | None:
        """The images of all ranks, which must call this together; None if there are none."""
        kept = [each for each in gather_objects(self._kept) if each is not None]
        return _joined(kept).highest(self.num) if kept else None


def _joined(parts: list[Shown]) -> Shown:
    return Shown(*(torch.cat(each) for each in zip(*parts, strict=True)))
