import torch

from lightning_flows.functional.streams import seeded, stream, stream_seed


def test_streams_are_all_different() -> None:
    assert len({stream_seed(0, number) for number in range(200_000)}) == 200_000
    assert len({stream_seed(seed, 7) for seed in range(1000)}) == 1000


def test_a_stream_follows_from_seed_and_number() -> None:
    assert torch.equal(torch.rand(4, generator=stream(1, 2)), torch.rand(4, generator=stream(1, 2)))
    assert not torch.equal(torch.rand(4, generator=stream(1, 2)), torch.rand(4, generator=stream(2, 1)))


def test_seeded_leaves_the_random_numbers_behind_it_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3), torch.rand(3)
    torch.manual_seed(0)
    first = torch.rand(3)
    with seeded(5):
        inside = torch.rand(3)
    assert torch.equal(first, expected[0])
    assert torch.equal(torch.rand(3), expected[1])
    with seeded(5):
        assert torch.equal(torch.rand(3), inside)
