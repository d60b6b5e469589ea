"""Random streams as functions of a seed, a purpose and a number, such as a step, an image or a batch."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

HOST = torch.device("cpu")
WORDS = slice(24, 24 + 8 * 624)
"""Position of the 624 words of the Mersenne twister in a CPU generator's state, 32 bits in 8 bytes each."""


def stream(seed: int, purpose: str, number: int = 0, *, device: torch.device | str | int = "cpu") -> torch.Generator:
    """Return the generator of stream ``number`` of a purpose, on ``device``.

    On the CPU the full generator state is a hash of (seed, purpose, number), since ``manual_seed`` only uses 32 bits of
    a seed there, so that collisions would be expected after about 2^16 streams. Other devices use 64 bits.

    >>> torch.rand(1, generator=stream(0, "a")).equal(torch.rand(1, generator=stream(0, "a")))
    True
    >>> torch.rand(1, generator=stream(0, "a")).equal(torch.rand(1, generator=stream(0, "b")))
    False
    """
    generator = torch.Generator(device)
    if generator.device.type != "cpu":
        return generator.manual_seed(stream_seed(seed, purpose, number))
    generator.manual_seed(0)  # an initial state, whose words are replaced below
    state = generator.get_state()
    words = np.frombuffer(_hash(seed, purpose, number, num_bytes=4 * 624), dtype="<u4").astype(np.int64)
    state.numpy()[WORDS] = words.view(np.uint8)
    return generator.set_state(state)


def stream_seed(seed: int, purpose: str, number: int = 0) -> int:
    """Return the 63-bit seed of stream ``number`` of a purpose, for generators that use all bits of a seed.

    ``manual_seed`` on the CPU does not: use :func:`stream` there.

    >>> stream_seed(0, "noise") == stream_seed(0, "noise"), stream_seed(0, "noise") == stream_seed(0, "order")
    (True, False)
    """
    return int.from_bytes(_hash(seed, purpose, number, num_bytes=8), "little") >> 1


@contextmanager
def forked(seed: int, purpose: str, number: int = 0, *, device: torch.device = HOST) -> Iterator[None]:
    """Context manager that seeds torch's global generators of the CPU and a device, and restores them on exit.

    >>> before = torch.get_rng_state()
    >>> with forked(0, "noise"):
    ...     first = torch.rand(2)
    >>> with forked(0, "noise"):
    ...     second = torch.rand(2)
    >>> torch.equal(first, second), torch.equal(torch.get_rng_state(), before)
    (True, True)
    """
    devices = [] if device.type in ("cpu", "meta") else [device]
    with torch.random.fork_rng(devices, device_type=device.type if devices else "cuda"):
        for each in devices:
            torch.get_device_module(each).manual_seed(stream_seed(seed, purpose, number))
        torch.set_rng_state(stream(seed, purpose, number).get_state())
        yield


def _hash(seed: int, purpose: str, number: int, *, num_bytes: int) -> bytes:
    return hashlib.shake_256(repr((int(seed), purpose, int(number))).encode()).digest(num_bytes)
