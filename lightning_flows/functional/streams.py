"""Random numbers as functions of a seed, a purpose and a number: those of a step, an image or a batch."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

WORDS = slice(24, 24 + 8 * 624)
"""Where a host generator's state holds the 624 words of its Mersenne twister, 32 bits in 8 bytes each."""


def stream(seed: int, purpose: str, number: int = 0, *, device: torch.device | str | int = "cpu") -> torch.Generator:
    """Return the generator of stream ``number`` of a purpose, on ``device``.

    The whole state of a generator on the host is a hash of (seed, purpose, number), as ``manual_seed`` keeps 32 bits of
    a seed there: with those, streams would coincide after some 2^16 of them. Other devices take 64 bits.

    >>> torch.rand(1, generator=stream(0, "a")).equal(torch.rand(1, generator=stream(0, "a")))
    True
    >>> torch.rand(1, generator=stream(0, "a")).equal(torch.rand(1, generator=stream(0, "b")))
    False
    """
    generator = torch.Generator(device)
    if generator.device.type != "cpu":
        return generator.manual_seed(stream_seed(seed, purpose, number))
    generator.manual_seed(0)  # a state at its beginning, of which the words are replaced
    state = generator.get_state()
    words = np.frombuffer(_hash(seed, purpose, number, num_bytes=4 * 624), dtype="<u4").astype(np.int64)
    state[WORDS] = torch.from_numpy(words).view(torch.uint8)
    return generator.set_state(state)


def stream_seed(seed: int, purpose: str, number: int = 0) -> int:
    """Return the 63-bit seed of stream ``number`` of a purpose, for what takes a seed and keeps all of it.

    ``manual_seed`` of a generator on the host does not: use :func:`stream` there.
    """
    return int.from_bytes(_hash(seed, purpose, number, num_bytes=8), "little") >> 1


def seed_all(seed: int, purpose: str, number: int = 0) -> None:
    """Let torch's own random numbers, on all devices, be those of a stream from now on."""
    torch.manual_seed(stream_seed(seed, purpose, number))
    torch.set_rng_state(stream(seed, purpose, number).get_state())


@contextmanager
def seeded(seed: int, purpose: str, number: int = 0) -> Iterator[None]:
    """Let torch's own random numbers on the host be those of a stream inside, and go on as before behind it."""
    state = torch.get_rng_state()
    torch.set_rng_state(stream(seed, purpose, number).get_state())
    try:
        yield
    finally:
        torch.set_rng_state(state)


def _hash(seed: int, purpose: str, number: int, *, num_bytes: int) -> bytes:
    return hashlib.shake_256(repr((int(seed), purpose, int(number))).encode()).digest(num_bytes)
