"""The base of posteriors with a flow."""

from collections.abc import Sequence

from torch import Tensor

from lightning_flows.posteriors.base import Posterior
from lightning_flows.transforms import Amortized, Transform


class FlowPosterior(Posterior):
    """A posterior with a flow whose parameters, or the context of whose nets, are a linear function of the features.

    Args:
        latent_size: D.
        context_features: number of features.
        num_flows: number of flows, a layer each.
        layers: the layers, and any transforms between them.
        shared: number of values of the layers' contexts that are the same for all layers, see :class:`Amortized`.
    """

    def __init__(
        self, latent_size: int, context_features: int, num_flows: int, layers: Sequence[Transform], *, shared: int = 0
    ) -> None:
        super().__init__(latent_size, context_features)
        self._num_flows = num_flows
        self.flow = Amortized(layers, context_features, shared=shared)

    @property
    def num_flows(self) -> int:
        return self._num_flows

    def transform(self, z0: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        z, log_det = self.flow(z0, h.to(z0.dtype))
        return z, log_det
