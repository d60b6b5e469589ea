"""Posteriors with generalized Sylvester flows."""

from lightning_flows.errors import check_sizes
from lightning_flows.nets import MADE, SylvesterFunction
from lightning_flows.posteriors.flow import FlowPosterior
from lightning_flows.transforms import GeneralizedSylvester, LinearCompose, LinearExponential, VectorHouseholder


class GeneralizedSylvesterPosterior(FlowPosterior):
    r"""Generalized Sylvester flows with an exponential basis and masked autoregressive functions.

    .. math:: z_k = z_{k-1} + W_k^{-1} f_k(W_k z_{k-1};\, A h + a), \qquad W_k = \exp(M_k)\, Q_k

    f is the function of section 4.1 with a :class:`MADE` as net. The paper does not say how these flows are amortized;
    here they are as inverse autoregressive flows: weights are shared by all samples, and one linear function of the
    features is the context of all nets. With ``amortize_basis``, the vectors of the reflections whose product is Q are
    linear functions of the features as well.

    Args:
        latent_size: D.
        context_features: F, number of features.
        num_flows: number of layers.
        width: hidden units per layer of the nets.
        depth: number of their hidden layers after the first, to which the context is added.
        num_reflections: number of reflections; by default 8 if they are amortized, D otherwise.
        amortize_basis: whether the reflections depend on the features.
        max_norm: bound on the norm of M.
        gamma: bound γ on the slopes of f along the diagonal.

    For shapes see :class:`Posterior`. Raises: UsageError for sizes below 1.
    Source: sections 4.1 and 4.2 of the paper, and its appendix A.

    >>> import torch
    >>> posterior = GeneralizedSylvesterPosterior(4, 16, num_flows=2, width=8)
    >>> z, log_q = posterior(torch.zeros(5, 4), torch.ones(5, 4), torch.randn(5, 16), torch.randn(5, 4))
    >>> z.shape, log_q.shape
    (torch.Size([5, 4]), torch.Size([5]))
    """

    def __init__(
        self,
        latent_size: int,
        context_features: int,
        *,
        num_flows: int = 4,
        width: int = 320,
        depth: int = 1,
        num_reflections: int | None = None,
        amortize_basis: bool = False,
        max_norm: float = 0.95,
        gamma: float = 0.5,
    ) -> None:
        check_sizes(latent_size=latent_size, num_flows=num_flows)
        if num_reflections is None:
            num_reflections = 8 if amortize_basis else latent_size

        def layer() -> GeneralizedSylvester:
            reflections = VectorHouseholder(latent_size, num_reflections=num_reflections, amortized=amortize_basis)
            basis = LinearCompose([reflections, LinearExponential(latent_size, max_norm=max_norm)])
            net = MADE(latent_size, width, depth=depth, num_outputs=4, context=True)
            return GeneralizedSylvester(basis, SylvesterFunction(net, gamma=gamma))

        layers = [layer() for _ in range(num_flows)]
        super().__init__(latent_size, context_features, num_flows, layers, shared=width)
