"""Random numbers that follow from a seed and a number: those of a step, a picture or a batch."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def stream_seed(seed: int, number: int) -> int:
    """Return the seed of stream ``number`` of a seed; no two numbers below 2^32 share one.

    torch's generator on the host keeps 32 bits of its seed, so streams are counted up from a start: hashes of
    (seed, number) would collide after some 2^16 of them. The mixing is one to one.
    """
    return _mix((2 * _mix(seed % 2**32) + number) % 2**32)


def stream(seed: int, number: int) -> torch.Generator:
    """Return a generator on the host with the seed of stream ``number``."""
    return torch.Generator().manual_seed(stream_seed(seed, number))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Let torch's own random numbers on the host follow from a seed inside, and go on as before behind it."""
    state = torch.get_rng_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(state)


def _mix(value: int) -> int:
    """Spread a 32-bit number over all bits, one to one. Source: MurmurHash3's finalizer."""
    value = ((value ^ (value >> 16)) * 0x85EBCA6B) % 2**32
    value = ((value ^ (value >> 13)) * 0xC2B2AE35) % 2**32
    return value ^ (value >> 16)
