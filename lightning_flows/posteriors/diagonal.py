"""The posterior without a flow."""

from torch import Tensor

from lightning_flows.posteriors.base import Posterior


class DiagonalPosterior(Posterior):
    r"""Independent normal distributions, :math:`z = \mu + \sigma\epsilon`.

    For arguments, shapes and errors see :class:`Posterior`.

    >>> DiagonalPosterior(64, 256)
    DiagonalPosterior(latent_size=64, context_features=256)
    """

    def transform(self, z0: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        return z0, z0.new_zeros(len(z0))
