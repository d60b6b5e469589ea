"""Posteriors with planar flows."""

from lightning_flows.errors import check_sizes
from lightning_flows.posteriors.flow import FlowPosterior
from lightning_flows.transforms import Planar


class PlanarPosterior(FlowPosterior):
    r"""Planar flows with parameters that are a linear function of the features.

    .. math:: z_k = z_{k-1} + \hat u_k(h) \tanh(w_k(h)^T z_{k-1} + b_k(h))

    Args:
        latent_size: D.
        context_features: F, number of features.
        num_flows: number of planar layers.

    For shapes see :class:`Posterior`. Raises: UsageError for sizes below 1.
    Source: Rezende and Mohamed, Variational inference with normalizing flows, 2015.

    >>> import torch
    >>> posterior = PlanarPosterior(4, 16, num_flows=2)
    >>> posterior.flow.linear.out_features  # û, w and b of two layers
    18
    >>> z, log_q = posterior(torch.zeros(5, 4), torch.ones(5, 4), torch.randn(5, 16), torch.randn(5, 4))
    >>> z.shape, log_q.shape
    (torch.Size([5, 4]), torch.Size([5]))
    """

    def __init__(self, latent_size: int, context_features: int, *, num_flows: int = 4) -> None:
        check_sizes(latent_size=latent_size, num_flows=num_flows)
        layers = [Planar(latent_size, amortized=True) for _ in range(num_flows)]
        super().__init__(latent_size, context_features, num_flows, layers)
