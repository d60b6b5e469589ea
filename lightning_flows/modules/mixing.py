"""The flow of section 6.1 as a Lightning module."""

from collections.abc import Sequence
from typing import Any, Literal

import torch

from lightning_flows.dequantization import (
    Dequantization,
    DequantizedFlow,
    UniformDequantization,
    VariationalDequantization,
)
from lightning_flows.flows import GlowFlow
from lightning_flows.modules.image import ImageFlowModule
from lightning_flows.transforms.image.mixing import Mixing


class MixingFlow(ImageFlowModule):
    """Affine couplings with a linear mixing layer between them, for the comparison of Table 1.

    Unless mixing is ``conv1x1``, the dense layers add fewer than ``growth`` channels, but at least half: as many as
    keep the number of parameters within that of the flow with 1x1 convolutions (63 instead of 64 at the paper's size).
    The result is ``growth_used``, which a checkpoint records, so that a rebuilt model has the same.

    Args:
        event_shape: shape (C, H, W) of the images; linked from the data on the command line.
        mixing: kind of mixing layer, in the flow and in the dequantization.
        dequantization: noise from a conditional flow, or uniform.
        num_levels: levels; each halves height and width.
        steps_per_level: couplings per level.
        width: channels of the dense nets.
        depth: layers of their dense block.
        growth: channels added by each of them.
        exponential_max_norm: maximum norm of the exponential's convolution.
        woodbury_rank: rank over the positions.
        dequantization_steps: couplings of the conditional flow.
        context_channels: conditioning channels computed from an image.
        context_depth: layers of each dense block of the context net.
        context_growth: channels added by each of them.
        growth_used: overrides ``growth`` regardless of the number of parameters; determined by default.
        kwargs: see :class:`ImageFlowModule`.
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        *,
        mixing: Mixing = "conv_exponential",
        dequantization: Literal["variational", "uniform"] = "variational",
        num_levels: int = 2,
        steps_per_level: int = 10,
        width: int = 64,
        depth: int = 8,
        growth: int = 64,
        exponential_max_norm: float = 0.95,
        woodbury_rank: int = 24,
        dequantization_steps: int = 4,
        context_channels: int = 32,
        context_depth: int = 4,
        context_growth: int = 32,
        growth_used: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(event_shape, **kwargs)
        self.hparams["growth_used"] = self.growth_used

    def build_model(self) -> DequantizedFlow:
        """The flow of :class:`GlowFlow` with its dequantization."""
        mixing, growth = self.hparams["mixing"], self.hparams["growth"]
        if self.hparams["growth_used"] is not None:
            growth = self.hparams["growth_used"]
        elif mixing != "conv1x1":
            budget = self._num_parameters("conv1x1", growth)
            least = (growth + 1) // 2
            while growth > least and self._num_parameters(mixing, growth) > budget:
                growth -= 1
        self.growth_used = growth
        return self._build(mixing, growth)

    def _num_parameters(self, mixing: Mixing, growth: int) -> int:
        with torch.device("meta"):
            return sum(p.numel() for p in self._build(mixing, growth).parameters())

    def _build(self, mixing: Mixing, growth: int) -> DequantizedFlow:
        shared: dict[str, Any] = {"mixing": mixing, "growth": growth} | self._options(
            "width", "depth", "exponential_max_norm", "woodbury_rank"
        )
        flow = GlowFlow(self.event_shape, **shared, **self._options("num_levels", "steps_per_level"))
        noise: Dequantization = UniformDequantization(self.event_shape)
        if self.hparams["dequantization"] == "variational":
            context = self._options("context_channels", "context_depth", "context_growth")
            noise = VariationalDequantization(
                self.event_shape, num_steps=self.hparams["dequantization_steps"], **shared, **context
            )
        return DequantizedFlow(flow, noise)

    def _options(self, *names: str) -> dict[str, Any]:
        return {name: self.hparams[name] for name in names}
