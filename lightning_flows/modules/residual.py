"""The flows of section 6.2 as Lightning modules: the Convolutional Sylvester Flow and what it is compared with."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from torch import Tensor

from lightning_flows import flows
from lightning_flows.dequantization import (
    Dequantization,
    DequantizedFlow,
    LikelihoodEstimate,
    UniformDequantization,
    VariationalDequantization,
)
from lightning_flows.flows import Ablation, MultiScaleFlow
from lightning_flows.modules.image import ImageFlowModule
from lightning_flows.modules.metrics import ExactMean


class ResidualFamily(ImageFlowModule):
    """Base of the models of Table 2: levels, sizes, split priors and dequantization.

    Args:
        event_shape: shape (C, H, W) of the images; linked from the data on the command line.
        num_levels: levels; each halves height and width.
        steps_per_level: steps per level.
        hidden_channels: width of the nets inside the layers.
        split_width: width of the dense nets that condition split priors and the dequantization.
        split_depth: layers of their dense block.
        split_growth: channels added by each of them.
        dequantization: uniform noise, or noise from a conditional flow with 1x1 mixing.
        dequantization_steps: couplings of that flow.
        context_channels: conditioning channels computed from an image.
        context_depth: layers of each dense block of the context net.
        context_growth: channels added by each of them.
        kwargs: see :class:`ImageFlowModule`.
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        *,
        num_levels: int = 3,
        steps_per_level: int = 16,
        hidden_channels: int = 528,
        split_width: int = 64,
        split_depth: int = 8,
        split_growth: int = 63,
        dequantization: Literal["uniform", "variational"] = "uniform",
        dequantization_steps: int = 4,
        context_channels: int = 32,
        context_depth: int = 4,
        context_growth: int = 32,
        **kwargs: Any,
    ) -> None:
        super().__init__(event_shape, **kwargs)

    @abstractmethod
    def build_flow(self, **sizes: Any) -> MultiScaleFlow:
        """The flow, given what the family shares."""

    def build_model(self) -> DequantizedFlow:
        """The flow with its dequantization."""
        names = ("num_levels", "steps_per_level", "hidden_channels", "split_width", "split_depth", "split_growth")
        flow = self.build_flow(**{name: self.hparams[name] for name in names})
        noise: Dequantization = UniformDequantization(self.event_shape)
        if self.hparams["dequantization"] == "variational":
            noise = VariationalDequantization(
                self.event_shape,
                num_steps=self.hparams["dequantization_steps"],
                width=self.hparams["split_width"],
                depth=self.hparams["split_depth"],
                growth=self.hparams["split_growth"],
                context_channels=self.hparams["context_channels"],
                context_depth=self.hparams["context_depth"],
                context_growth=self.hparams["context_growth"],
            )
        return DequantizedFlow(flow, noise)


class CSF(ResidualFamily):
    """Convolutional Sylvester Flow of section 6.2.

    Args:
        event_shape: shape (C, H, W) of the images; linked from the data on the command line.
        exponential_max_norm: largest norm of the exponential's convolution.
        net_max_norm: largest norm of each masked convolution.
        ablation: part that is left out, as in Table 3.
        kwargs: see :class:`ResidualFamily`.
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        *,
        exponential_max_norm: float = 0.95,
        net_max_norm: float = 1.5,
        ablation: Ablation = "none",
        **kwargs: Any,
    ) -> None:
        super().__init__(event_shape, **kwargs)

    def build_flow(self, **sizes: Any) -> MultiScaleFlow:
        """The flow of :class:`flows.ConvSylvesterFlow`."""
        names = ("exponential_max_norm", "net_max_norm", "ablation")
        return flows.ConvSylvesterFlow(self.event_shape, **sizes, **{name: self.hparams[name] for name in names})


class CouplingFlow(ResidualFamily):
    """Baseline of section 6.2: affine couplings with plain convolutional nets. For arguments see ResidualFamily."""

    def build_flow(self, **sizes: Any) -> MultiScaleFlow:
        """The flow of :class:`flows.CouplingFlow`."""
        return flows.CouplingFlow(self.event_shape, **sizes)


class ResidualFlow(ResidualFamily):
    """Residual flow of section 6.2.

    ``test`` also logs the uncertainty that estimated log-determinants add to the bound, averaged over the draws of each
    image and then over images: ``test/log_det_error_bpd``, a standard error, and ``test/log_det_remainder_bpd``, what
    truncating the series may omit. Probes are shared by all images, so the error of their mean may be as large.

    Args:
        event_shape: shape (C, H, W) of the images; linked from the data on the command line.
        max_norm: maximum norm of each convolution.
        gradient: gradient of the log-determinant: ``neumann`` saves memory, ``autograd`` differentiates the series.
        eval_terms: terms of the series in evaluation.
        eval_probes: probes per trace in evaluation; at least two for a standard error.
        equal_memory: use half as many steps per level, for about the memory of the other models.
        kwargs: see :class:`ResidualFamily`.
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        *,
        max_norm: float = 0.98,
        gradient: Literal["neumann", "autograd"] = "neumann",
        eval_terms: int = 20,
        eval_probes: int = 4,
        equal_memory: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(event_shape, **kwargs)
        self.test_log_det_error, self.test_log_det_remainder = ExactMean(), ExactMean()

    def build_flow(self, **sizes: Any) -> MultiScaleFlow:
        """The flow of :class:`flows.ResidualFlow`."""
        names = ("max_norm", "gradient", "eval_terms", "eval_probes")
        if self.hparams["equal_memory"]:
            sizes["steps_per_level"] = max(1, sizes["steps_per_level"] // 2)
        return flows.ResidualFlow(self.event_shape, **sizes, **{name: self.hparams[name] for name in names})

    def _estimate(self, batch: Mapping[str, Tensor], batch_idx: int, num_draws: int, stage: str) -> LikelihoodEstimate:
        estimate = super()._estimate(batch, batch_idx, num_draws, stage)
        if stage == "testing" and estimate.log_det_error is not None:
            self.test_log_det_error.update(-self._bits(estimate.log_det_error))
            self.test_log_det_remainder.update(-self._bits(estimate.log_det_remainder))
        return estimate

    def on_test_epoch_end(self) -> None:
        """Log."""
        super().on_test_epoch_end()
        self._log_metric("test/log_det_error_bpd", self.test_log_det_error)
        self._log_metric("test/log_det_remainder_bpd", self.test_log_det_remainder)
