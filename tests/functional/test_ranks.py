import torch

from lightning_flows.functional import ranks


def test_a_single_rank_communicates_nothing() -> None:
    assert (ranks.num_ranks(), ranks.rank()) == (1, 0)
    assert ranks.sum_over_ranks(torch.tensor(2.5)) == 2.5
    assert ranks.gather_from_ranks(torch.tensor(7)) == [7]


def test_values_are_gathered_in_rank_order(monkeypatch) -> None:
    def all_gather(found: list[torch.Tensor], own: torch.Tensor) -> None:
        for i, place in enumerate(found):
            place.copy_(own + i)

    monkeypatch.setattr(ranks, "num_ranks", lambda: 3)
    monkeypatch.setattr(ranks.distributed, "all_gather", all_gather)
    assert ranks.gather_from_ranks(torch.tensor(7)) == [7, 8, 9]


def test_ranks_are_summed_and_numbered(monkeypatch) -> None:
    monkeypatch.setattr(ranks, "num_ranks", lambda: 3)
    monkeypatch.setattr(ranks.distributed, "get_rank", lambda: 2)
    monkeypatch.setattr(ranks.distributed, "all_reduce", lambda value: value.mul_(3))
    assert ranks.rank() == 2
    assert ranks.sum_over_ranks(torch.tensor(2.5)) == 7.5
