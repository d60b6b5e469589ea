import math
from pathlib import Path

import pytest
import torch

from lightning_flows.modules.metrics import MeanAndError
from tests.process_group import run_two

VALUES = torch.tensor([-1.0, -2.0, -4.0, -8.0, -32.0])
EXPECTED = VALUES.double().mean().item(), VALUES.double().std().item() / math.sqrt(5)


def test_neither_mean_nor_error_depends_on_the_batches() -> None:
    for size in (1, 2, 5):
        metric = MeanAndError()
        for batch in VALUES.split(size):
            metric.update(batch)
        assert [value.item() for value in metric.compute()] == pytest.approx(EXPECTED, abs=1e-14)


def test_small_differences_of_large_values_are_kept() -> None:
    metric = MeanAndError()
    metric.update(torch.tensor([1e8, 1e8 + 8]))
    mean, error = metric.compute()
    assert (mean.item(), error.item()) == (1e8 + 4, 4)


def test_a_single_value_has_no_error() -> None:
    metric = MeanAndError()
    metric.update(torch.ones(1))
    assert [value.item() for value in metric.compute()] == pytest.approx([1, math.nan], nan_ok=True)


def test_state_is_not_part_of_a_checkpoint() -> None:
    assert not MeanAndError().state_dict()


def _rank(rank: int, folder: Path) -> None:
    metric = MeanAndError()
    for batch in VALUES[:4].split(3) if rank == 0 else [VALUES[4:]]:  # uneven on purpose
        metric.update(batch)
    assert [value.item() for value in metric.compute()] == pytest.approx(EXPECTED, abs=1e-14)


def test_exact_over_uneven_ranks(tmp_path: Path) -> None:
    run_two(_rank, tmp_path)
