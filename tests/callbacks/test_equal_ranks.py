"""The models of all ranks are compared bit for bit."""

from types import SimpleNamespace

import pytest
import torch
from torch import distributed, nn

from lightning_flows.callbacks import EqualRanks
from lightning_flows.callbacks.equal_ranks import checksum
from lightning_flows.errors import RankError, UsageError
from lightning_flows.functional import ranks
from lightning_flows.modules import FlowModule


def tensors() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(3, 4, generator=generator),
        torch.tensor(False),
        torch.zeros(0),
        torch.randn(5, dtype=torch.float64, generator=generator).to(torch.bfloat16),
    ]


def test_the_checksum_depends_on_every_bit() -> None:
    assert checksum(tensors()) == checksum(tensors())
    for which, change in ((0, 1e-7), (3, 0.1)):
        changed = tensors()
        changed[which].view(-1)[-1] += change
        assert checksum(changed) != checksum(tensors())
    flag = tensors()
    flag[1].fill_(True)
    assert checksum(flag) != checksum(tensors())
    negative = [torch.tensor([-0.0])]
    assert checksum(negative) != checksum([torch.tensor([0.0])])


def test_the_checksum_depends_on_positions() -> None:
    one, other = torch.tensor([1.0, 2.0]), torch.tensor([2.0, 1.0])
    assert checksum([one]) != checksum([other])
    assert checksum([one, other]) != checksum([other, one])
    assert checksum([torch.randn(6, generator=torch.Generator().manual_seed(0)).view(2, 3).t()]) != 0


def gather(monkeypatch: pytest.MonkeyPatch, others: list[int]) -> None:
    def all_gather(found: list[torch.Tensor], own: torch.Tensor) -> None:
        for place, value in zip(found, [own, *(own + other for other in others)], strict=True):
            place.copy_(value)

    monkeypatch.setattr(distributed, "all_gather", all_gather)
    monkeypatch.setattr(ranks, "num_ranks", lambda: 1 + len(others))


def test_a_different_rank_stops_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    module = nn.Linear(2, 2)
    module.device = torch.device("cpu")
    trainer = SimpleNamespace(world_size=4)
    gather(monkeypatch, [0, 0, 0])
    EqualRanks().on_train_epoch_end(trainer, module)
    gather(monkeypatch, [0, 7, 1])
    with pytest.raises(RankError, match="the parameters of rank 2, 3 differ from those of rank 0"):
        EqualRanks().on_train_epoch_end(trainer, module)


def test_processes_that_start_at_different_steps_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    module = SimpleNamespace(global_step=5, device="cpu", _resumed=None)
    gather(monkeypatch, [0, 0])
    FlowModule.on_train_start(module)
    gather(monkeypatch, [0, -5])
    with pytest.raises(UsageError, match="start at the same step; got 0, 5: hosts must share the folder"):
        FlowModule.on_train_start(module)
