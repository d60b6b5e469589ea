"""Posteriors with the original Sylvester flows."""

from lightning_flows.errors import UsageError, check_sizes
from lightning_flows.posteriors.flow import FlowPosterior
from lightning_flows.transforms import OriginalSylvester
from lightning_flows.transforms.vector.original_sylvester import BasisKind


class SylvesterPosterior(FlowPosterior):
    r"""Sylvester flows with parameters that are a linear function of the features.

    .. math:: z_k = z_{k-1} + Q R_1 \tanh(R_2 Q^T z_{k-1} + b)

    For Q, R₁ and R₂, which depend on the features and on k, see :class:`OriginalSylvester`. A triangular Q is not
    amortized: it is the identity, and the reversal in every second flow.

    Args:
        latent_size: D.
        context_features: F, number of features.
        basis: ``orthogonal``, ``householder`` or ``triangular``.
        num_flows: number of layers.
        columns: number of columns M of an orthogonal Q, at most D.
        num_reflections: number of reflections whose product is a Householder Q.

    For shapes see :class:`Posterior`. Raises: UsageError for sizes below 1, or too many columns.
    Source: van den Berg et al., Sylvester Normalizing Flows for Variational Inference, 2018.

    >>> import torch
    >>> posterior = SylvesterPosterior(4, 16, basis="householder", num_reflections=2, num_flows=2)
    >>> z, log_q = posterior(torch.zeros(5, 4), torch.ones(5, 4), torch.randn(5, 16), torch.randn(5, 4))
    >>> z.shape, log_q.shape
    (torch.Size([5, 4]), torch.Size([5]))
    """

    def __init__(
        self,
        latent_size: int,
        context_features: int,
        *,
        basis: BasisKind = "orthogonal",
        num_flows: int = 4,
        columns: int = 8,
        num_reflections: int = 8,
    ) -> None:
        check_sizes(latent_size=latent_size, num_flows=num_flows, columns=columns)
        if basis == "orthogonal" and columns > latent_size:
            raise UsageError(
                f"columns={columns} of an orthogonal Sylvester posterior exceeds latent_size={latent_size}: use at "
                f"most {latent_size} columns, or a larger latent_size"
            )
        layers = [
            OriginalSylvester(
                latent_size,
                basis=basis,
                columns=columns,
                num_reflections=num_reflections,
                reverse=bool(k % 2),
                amortized=True,
            )
            for k in range(num_flows)
        ]
        super().__init__(latent_size, context_features, num_flows, layers)
