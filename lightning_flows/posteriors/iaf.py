"""Posteriors with inverse autoregressive flows."""

from lightning_flows.errors import check_sizes
from lightning_flows.posteriors.flow import FlowPosterior
from lightning_flows.transforms import InverseAutoregressive, Reversal, Transform


class IAFPosterior(FlowPosterior):
    r"""Inverse autoregressive flows; one linear function of the features is the context of all their nets.

    .. math:: z_k = g_k \odot z_{k-1} + (1 - g_k) \odot m_k, \qquad g_k = \sigma(a_k + 1), \qquad
              (m_k, a_k) = \mathrm{net}_k(z_{k-1};\, A h + a)

    The latents are reversed before every second flow.

    Args:
        latent_size: D.
        context_features: F, number of features.
        num_flows: number of layers.
        width: hidden units per layer of the nets.
        depth: number of their hidden layers after the first, to which the context is added.

    For shapes see :class:`Posterior`. Raises: UsageError for sizes below 1.
    Source: Kingma et al., Improving variational inference with inverse autoregressive flow, 2016; with the settings of
    van den Berg et al., 2018.

    >>> import torch
    >>> posterior = IAFPosterior(4, 16, num_flows=2, width=8)
    >>> z, log_q = posterior(torch.zeros(5, 4), torch.ones(5, 4), torch.randn(5, 16), torch.randn(5, 4))
    >>> z.shape, log_q.shape
    (torch.Size([5, 4]), torch.Size([5]))
    """

    def __init__(
        self, latent_size: int, context_features: int, *, num_flows: int = 4, width: int = 320, depth: int = 1
    ) -> None:
        check_sizes(latent_size=latent_size, num_flows=num_flows)
        layers: list[Transform] = []
        for k in range(num_flows):
            layers += [Reversal(latent_size)] if k % 2 else []
            layers += [InverseAutoregressive(latent_size, width, depth=depth, context=True)]
        super().__init__(latent_size, context_features, num_flows, layers, shared=width)
