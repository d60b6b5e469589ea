"""Random numbers of many items at once, as functions of counters."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_flows.functional.streams import stream_seed

WORD = 0xFFFFFFFF
MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
WEYL = 0x9E3779B9, 0xBB67AE85


class Streams(NamedTuple):
    """One stream of random numbers for each of N items, such as images, generated in one call.

    The numbers of an item depend only on the key, its number, the draw and their position, not on the other items,
    batches or devices. As Philox is a bijection of the counter, no two draws or items of one key share a block of bits.

    Args:
        key: hash of a seed and a purpose; see :func:`streams`.
        numbers: number of each item, int64 ``(N,)``.
        draws: index of the draw of each item, below 2³², int64 ``(N,)``.

    >>> images = streams(0, "noise", [3, 8])
    >>> images.uniform((2,)).shape
    torch.Size([2, 2])
    >>> images.of(torch.tensor([0, 0]), torch.tensor([1, 2])).numbers  # two more draws for the first item
    tensor([3, 3])
    """

    key: int
    numbers: Tensor
    draws: Tensor

    @property
    def size(self) -> int:
        """N."""
        return len(self.numbers)

    def of(self, items: Tensor, draws: Tensor) -> "Streams":
        """Streams of some items, which may repeat, at these draws: both ``(M,)``."""
        return Streams(self.key, self.numbers[items], draws)

    def uniform(self, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
        """Multiples of 2⁻²⁴ in [0, 1), the same in float32 and float64; fewer bits in dtypes that have fewer.

        Returns: ``(N, *shape)``.
        """
        dtype = dtype or torch.get_default_dtype()
        num_bits = min(24, 2 - math.frexp(torch.finfo(dtype).eps)[1])
        values = [(word >> (32 - num_bits)).to(dtype).mul_(2.0**-num_bits) for word in self._words(shape)]
        return self._arranged(values, shape)

    def normal(self, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
        """Standard normal numbers ``(N, *shape)``. Source: Box and Muller, 1958."""
        dtype, values = dtype or torch.get_default_dtype(), []
        precise = torch.promote_types(dtype, torch.float32)
        words = self._words(shape)
        for one, other in (words[:2], words[2:]):
            radius = one.to(precise).add_(0.5).mul_(2.0**-32).log_().mul_(-2).sqrt_()
            angle = other.to(precise).mul_(math.tau * 2.0**-32)
            values += [radius * angle.cos(), radius * angle.sin()]
        return self._arranged(values, shape).to(dtype)

    def _words(self, shape: Sequence[int]) -> list[Tensor]:
        positions = torch.arange(-(-math.prod(shape) // 4), device=self.numbers.device)[None]
        low, high = self.numbers & WORD, (self.numbers >> 32) & WORD
        return philox((positions, self.draws[:, None], low[:, None], high[:, None]), self.key)

    def _arranged(self, values: Sequence[Tensor], shape: Sequence[int]) -> Tensor:
        return torch.cat(list(values), dim=1)[:, : math.prod(shape)].reshape(self.size, *shape)


def streams(
    seed: int, purpose: str, numbers: Sequence[int] | Tensor, *, device: torch.device | str | None = None
) -> Streams:
    """Return the streams of items with these numbers, for a purpose, at draw 0.

    Shapes: numbers ``(N,)``.
    Raises: TypeError for numbers that are not integers.

    >>> streams(0, "a", [5, 7]).uniform((2,))[1].equal(streams(0, "a", [7]).uniform((2,))[0])
    True
    """
    found = torch.as_tensor(numbers if isinstance(numbers, Tensor) else list(numbers), device=device)
    if found.numel() and (found.is_floating_point() or found.is_complex()):
        raise TypeError(f"expected integer numbers of items; got {found.dtype}")
    found = found.to(torch.int64)
    return Streams(stream_seed(seed, purpose), found, torch.zeros_like(found))


def philox(counter: Sequence[Tensor], key: int, *, num_rounds: int = 10) -> list[Tensor]:
    """Philox4x32: a bijection of 128-bit counters, keyed by 64 bits, whose values are pseudorandom.

    Args:
        counter: its four words below 2³², int64, of shapes that broadcast.
        key: of 64 bits.
        num_rounds: 10 by default, as in the source, where 7 rounds pass all statistical tests.

    Shapes: those of the words, broadcast.
    Returns: four words below 2³², int64.
    Source: Salmon, Moraes, Dror and Shaw, Parallel random numbers: as easy as 1, 2, 3, 2011.

    >>> zero = torch.tensor(0)
    >>> [hex(int(word)) for word in philox([zero] * 4, 0)]  # as published with the source
    ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
    """
    first, second, third, fourth = counter
    keys = key & WORD, key >> 32 & WORD
    for _ in range(num_rounds):
        one, two = first * MULTIPLIERS[0], third * MULTIPLIERS[1]  # modulo 2^64
        first = ((two >> 32) ^ second).bitwise_xor_(keys[0]).bitwise_and_(WORD)
        third = ((one >> 32) ^ fourth).bitwise_xor_(keys[1]).bitwise_and_(WORD)
        second, fourth = two, one  # only their lower words are used
        keys = (keys[0] + WEYL[0]) & WORD, (keys[1] + WEYL[1]) & WORD
    return [first, second & WORD, third, fourth & WORD]
