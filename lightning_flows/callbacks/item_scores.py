"""Scores of the items of a batch, from what ``predict_step`` returns."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lightning_flows.reporting.outliers.scores import Scored, png_sizes

IMAGE = "image"
"""Images ``(B, C, H, W)`` in uint8 among the outputs of ``predict_step``: how the items of a batch look."""


def scored(outputs: Mapping[str, Tensor], unit: str) -> Scored | None:
    """The loss of each item in its unit, and PNG sizes of images with a loss in bits per dimension.

    A module of vectors has no column for its unit: the loss is then −log_likelihood. None without a likelihood.
    """
    if "log_likelihood" not in outputs:
        return None
    loss = outputs.get(unit, -outputs["log_likelihood"]).double().cpu()
    images = outputs.get(IMAGE)
    compressible = unit == "bpd" and images is not None and images.shape[1] in (1, 3)
    return Scored(loss, png_sizes(images) if compressible and images is not None else None)


def joined(parts: Sequence[Scored]) -> Scored:
    """Scores of several batches, at least one, as those of a single one."""
    sizes = [part.png for part in parts if part.png is not None]
    return Scored(torch.cat([part.loss for part in parts]), torch.cat(sizes) if sizes else None)
