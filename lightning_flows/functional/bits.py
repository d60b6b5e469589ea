"""Bits per dimension: the unit in which densities of images are compared."""

import math
from typing import TypeVar

from torch import Tensor

Number = TypeVar("Number", Tensor, float)


def bits_per_dim(log_prob: Number, num_dims: int) -> Number:
    r"""Convert a log-probability of pixel levels to bits per dimension.

    .. math:: \text{bpd} = -\log p(x) / (D \log 2)

    ``log_prob`` is in nats, for pixels in units of one level (0 to 255), so that a uniform density over the 256 levels
    has 8 bits. Its mean over images gives the dataset's bits per dimension.

    Raises: ValueError if ``num_dims`` is not positive.

    >>> round(bits_per_dim(-3072 * math.log(256.0), 3072), 9)
    8.0
    """
    if num_dims <= 0:
        raise ValueError(f"expected a positive number of dimensions; got {num_dims}")
    return -log_prob / (num_dims * math.log(2.0))
