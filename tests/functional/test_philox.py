"""Random numbers from counters: known answers, statistics, and independence of everything but the counter."""

import math

import pytest
import torch
from torch import Tensor

from lightning_flows.functional.philox import philox, streams

PI = [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344]
KNOWN = [
    ([0, 0, 0, 0], 0, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ([0xFFFFFFFF] * 4, 2**64 - 1, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    (PI, 0x299F31D0A4093822, [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]),
]
"""Counter, key and value of Philox4x32-10, as published with Random123."""


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_against_the_published_values(counter: list[int], key: int, expected: list[int]) -> None:
    assert [int(word) for word in philox([torch.tensor(word) for word in counter], key)] == expected


def test_words_of_a_counter_broadcast() -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = ((1, 5), (3, 1), (3, 1), (3, 1))
    counter = [torch.randint(2**32, shape, generator=generator) for shape in shapes]
    whole = philox([word.expand(3, 5).clone() for word in counter], 9)
    assert all(torch.equal(one, other) for one, other in zip(philox(counter, 9), whole, strict=True))


def test_the_numbers_of_an_item_depend_on_nothing_else() -> None:
    numbers = torch.tensor([5, 2**40, 7, -3, 5])
    whole = streams(3, "a", numbers)
    for kind in ("uniform", "normal"):
        found = getattr(whole, kind)((3, 5))
        for i, number in enumerate(numbers.tolist()):
            assert torch.equal(getattr(streams(3, "a", [number]), kind)((3, 5))[0], found[i])
        assert torch.equal(found[0], found[4])
        assert not torch.equal(found[2], getattr(streams(3, "a", [7 + 2**40]), kind)((3, 5))[0])
        draws = whole.of(torch.tensor([1, 0, 1]), torch.tensor([2, 0, 0]))
        again = getattr(draws, kind)((3, 5))
        assert torch.equal(again[1:], found[[0, 1]])
        assert not torch.equal(again[0], found[1])
        for other in (streams(4, "a", numbers), streams(3, "b", numbers)):
            assert not torch.equal(getattr(other, kind)((3, 5)), found)


def test_values_are_the_same_on_every_platform() -> None:
    found = streams(0, "a", [1]).uniform((4,), torch.float64)
    assert (found * 2**24).tolist() == [[16114826.0, 2999327.0, 12694582.0, 5521998.0]]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_uniform_numbers_are_below_one_in_every_dtype(dtype: torch.dtype) -> None:
    source = streams(0, "a", range(300))
    values = source.uniform((1000,), dtype)
    assert values.dtype == dtype
    assert values.min() >= 0
    assert values.max() < 1
    exact = source.uniform((1000,), torch.float64)
    assert (values.double() - exact).abs().max() <= (torch.finfo(dtype).eps if dtype.itemsize < 4 else 0)
    assert source.normal((2,), dtype).dtype == dtype


def chi_square(counts: Tensor) -> float:
    """Deviation of counts from equal counts, in standard deviations."""
    expected, degrees = counts.sum() / counts.numel(), counts.numel() - 1
    statistic = ((counts - expected).square() / expected).sum()
    return float((statistic - degrees) / math.sqrt(2 * degrees))


def pairs(source: Tensor, other: Tensor) -> float:
    """Deviation of pairs of numbers from independence, by cells of 16 x 16."""
    cells = (source * 16).long() * 16 + (other * 16).long()
    return abs(chi_square(torch.bincount(cells.flatten(), minlength=256).double()))


def test_numbers_are_uniform_and_independent_across_items_draws_and_positions() -> None:
    source = streams(0, "a", range(256))
    values = torch.stack([source.of(torch.arange(256), torch.full((256,), k)).uniform((64,)) for k in range(64)])
    assert abs(chi_square(torch.bincount((values * 4096).long().flatten(), minlength=4096).double())) < 5
    low = (values.double() * 2**24).long() & 4095  # the lowest bits
    assert abs(chi_square(torch.bincount(low.flatten(), minlength=4096).double())) < 5
    for axis in range(3):
        for lag in (1, 2, 16, 32):
            assert pairs(values, values.roll(lag, axis)) < 5, (axis, lag)
    other = torch.stack([streams(1, "a", range(256)).uniform((64,)), streams(0, "b", range(256)).uniform((64,))])
    for each in other:
        assert pairs(values[0], each) < 5
    assert pairs(other[0], other[1]) < 5


def test_normal_numbers_have_the_normal_distribution() -> None:
    values = streams(0, "a", range(512)).normal((1024,), torch.float64)
    cells = (torch.special.ndtr(values) * 1024).long().clamp(max=1023)
    assert abs(chi_square(torch.bincount(cells.flatten(), minlength=1024).double())) < 5
    uniform = torch.special.ndtr(values).clamp(max=1 - 1e-9)
    for axis in range(2):
        for lag in (1, 128, 256):  # the two numbers of a pair lie 256 apart
            assert pairs(uniform, uniform.roll(lag, axis)) < 5, (axis, lag)
    radius = values[:, :256].square() + values[:, 256:512].square()
    assert abs((radius > 12).double().mean() / math.exp(-6) - 1) < 0.25
    torch.testing.assert_close(streams(0, "a", range(512)).normal((1024,)).double(), values, rtol=1e-4, atol=1e-4)


def test_no_two_of_a_million_draws_share_a_block() -> None:
    """Among 2²⁰ draws of 64 bits each, two would agree by chance with probability 3e-8; items and draws are mixed."""
    items, draws = torch.arange(2**20) % 1024, torch.arange(2**20) // 1024
    source = streams(0, "a", range(1024)).of(items, draws)
    words = source.uniform((4,), torch.float64).mul_(2**24).long()
    codes = (words[:, 0] << 40) ^ (words[:, 1] << 16) ^ (words[:, 2] >> 8)
    assert len(codes.unique()) == 2**20


def test_bits_of_a_value_depend_on_every_bit_of_the_counter_and_key() -> None:
    """Flipping a bit flips half of the others."""
    counter = [torch.arange(2000) * 7 + word for word in range(4)]
    before = torch.stack(philox(counter, 5))
    for flipped in range(0, 192, 5):
        if flipped < 128:
            word, bit = divmod(flipped, 32)
            other = [each ^ (1 << bit) if i == word else each for i, each in enumerate(counter)]
            after = torch.stack(philox(other, 5))
        else:
            after = torch.stack(philox(counter, 5 ^ (1 << (flipped - 128))))
        share = torch.stack([((before ^ after) >> bit & 1).double().mean() for bit in range(32)])
        assert (share - 0.5).abs().max() < 5 * 0.5 / math.sqrt(8000), flipped


def test_numbers_that_are_not_integers_are_refused() -> None:
    with pytest.raises(TypeError, match=r"expected integer numbers of items; got torch\.float32"):
        streams(0, "a", torch.zeros(2))
    assert streams(0, "a", []).uniform((3, 2)).shape == (0, 3, 2)
