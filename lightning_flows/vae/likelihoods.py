"""Likelihoods of uint8 images given the outputs of a decoder; the values of an image are independent."""

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_flows.errors import UsageError


class PixelLikelihood(nn.Module, ABC):
    r"""Distribution of L levels for each value of an image: :math:`P(x \mid \ell) = \prod_i P(x_i \mid \ell_i)`.

    Attributes:
        num_levels: L.
        num_logits: outputs of the decoder per value of an image.

    Shapes: logits ``(B, C·num_logits, H, W)``, those of a value next to each other; x uint8 ``(B, C, H, W)``.

    >>> Bernoulli().num_logits, Categorical(256).num_logits
    (1, 256)
    """

    num_levels: int
    num_logits: int

    @abstractmethod
    def log_prob(self, logits: Tensor, x: Tensor) -> Tensor:
        """Log-probabilities ``(B,)`` in nats."""

    @abstractmethod
    def mean(self, logits: Tensor) -> Tensor:
        """Expected levels ``(B, C, H, W)``."""

    @abstractmethod
    def sample(self, logits: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw images, uint8 ``(B, C, H, W)``."""

    def extra_repr(self) -> str:
        return f"num_levels={self.num_levels}"


class Bernoulli(PixelLikelihood):
    r"""Binary values: :math:`\log P(x) = \sum_i x_i \log\sigma(\ell_i) + (1 - x_i)\log\sigma(-\ell_i)`.

    For shapes see :class:`PixelLikelihood`.

    >>> x = torch.tensor([[[[0, 1]]]], dtype=torch.uint8)
    >>> Bernoulli().log_prob(torch.zeros(1, 1, 1, 2), x).exp()  # two fair coins
    tensor([0.2500])
    """

    num_levels, num_logits = 2, 1

    def log_prob(self, logits: Tensor, x: Tensor) -> Tensor:
        losses = F.binary_cross_entropy_with_logits(logits, x.to(logits.dtype), reduction="none")
        return -losses.flatten(1).sum(1)

    def mean(self, logits: Tensor) -> Tensor:
        return logits.sigmoid()

    def sample(self, logits: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return torch.bernoulli(logits.sigmoid(), generator=generator).to(torch.uint8)


class Categorical(PixelLikelihood):
    r"""L levels with a logit each: :math:`\log P(x) = \sum_i \ell_{i,x_i} - \log\sum_l e^{\ell_{i,l}}`.

    Args:
        num_levels: L.

    For shapes see :class:`PixelLikelihood`.

    >>> logits = torch.tensor([0.0, 0.0, 50.0, 0.0]).reshape(1, 4, 1, 1)  # of one value with four levels
    >>> Categorical(4).sample(logits), Categorical(4).log_prob(0 * logits, torch.zeros(1, 1, 1, 1).byte()).exp()
    (tensor([[[[2]]]], dtype=torch.uint8), tensor([0.2500]))
    """

    def __init__(self, num_levels: int = 256) -> None:
        super().__init__()
        self.num_levels = self.num_logits = num_levels

    def log_prob(self, logits: Tensor, x: Tensor) -> Tensor:
        levels = x.permute(0, 2, 3, 1).flatten()
        losses = F.cross_entropy(self._of_values(logits).flatten(0, -2), levels.long(), reduction="none")
        return -losses.view(len(x), -1).sum(1)

    def mean(self, logits: Tensor) -> Tensor:
        levels = torch.arange(self.num_levels, device=logits.device, dtype=logits.dtype)
        return (self._of_values(logits).softmax(-1) @ levels).permute(0, 3, 1, 2)

    def sample(self, logits: Tensor, generator: torch.Generator | None = None) -> Tensor:
        probabilities = self._of_values(logits).softmax(-1)
        levels = torch.multinomial(probabilities.flatten(0, -2), 1, generator=generator)
        return levels.view(probabilities.shape[:-1]).permute(0, 3, 1, 2).to(torch.uint8)

    def _of_values(self, logits: Tensor) -> Tensor:
        """Logits ``(B, H, W, C, L)``, without a copy if the channels come last in memory."""
        return logits.permute(0, 2, 3, 1).unflatten(-1, (-1, self.num_levels))


def likelihood_of(num_levels: int) -> PixelLikelihood:
    r"""Return the likelihood of images with L = ``num_levels``: :math:`P(x \mid \ell) = \prod_i P(x_i \mid \ell_i)`.

    Shapes: see :class:`PixelLikelihood`.
    Raises: UsageError outside of 2 to 256.

    >>> likelihood_of(2), likelihood_of(256)
    (Bernoulli(num_levels=2), Categorical(num_levels=256))
    """
    if not 2 <= num_levels <= 256:
        raise UsageError(f"expected 2 to 256 levels of uint8 images; got {num_levels}")
    return Bernoulli() if num_levels == 2 else Categorical(num_levels)
