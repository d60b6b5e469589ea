"""The Convolutional Sylvester Flow as a Lightning module."""

from collections.abc import Sequence
from typing import Any

from lightning_flows.dequantization import DequantizedFlow, UniformDequantization
from lightning_flows.flows import conv_sylvester_flow
from lightning_flows.modules.base import FlowModule

FLOW_OPTIONS = (
    "num_levels",
    "steps_per_level",
    "hidden_channels",
    "exponential_coefficient",
    "net_coefficient",
    "split_width",
    "split_depth",
    "split_growth",
)


class CSF(FlowModule):
    """Convolutional Sylvester Flow of section 6.2 with uniform dequantisation.

    Args:
        event_shape: shape (C, H, W) of the pictures; linked from the data on the command line.
        num_levels: levels; each halves height and width.
        steps_per_level: Sylvester layers a level.
        hidden_channels: width of the autoregressive nets.
        exponential_coefficient: largest norm of the exponential's convolution.
        net_coefficient: largest norm of each masked convolution.
        split_width: width of the dense nets that condition what is factored out.
        split_depth: layers of their dense block.
        split_growth: channels that each of them adds.
        kwargs: see :class:`FlowModule`.
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        *,
        num_levels: int = 3,
        steps_per_level: int = 16,
        hidden_channels: int = 528,
        exponential_coefficient: float = 0.95,
        net_coefficient: float = 1.5,
        split_width: int = 64,
        split_depth: int = 8,
        split_growth: int = 63,
        **kwargs: Any,
    ) -> None:
        super().__init__(event_shape, **kwargs)

    def build_model(self) -> DequantizedFlow:
        """The flow of :func:`conv_sylvester_flow` with uniform noise."""
        options = {name: self.hparams[name] for name in FLOW_OPTIONS}
        return DequantizedFlow(conv_sylvester_flow(self.event_shape, **options), UniformDequantization())
