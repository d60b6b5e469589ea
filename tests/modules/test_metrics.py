import math

import pytest
import torch
import torch.multiprocessing as mp

from lightning_flows.modules.metrics import BitsPerDim, BitsPerDimError

VALUES = torch.tensor([-1.0, -2.0, -4.0, -8.0, -32.0], dtype=torch.float64)


def test_mean_does_not_depend_on_the_batches() -> None:
    expected = VALUES.mean().item() / (-6 * math.log(2))
    for cut in (1, 2, 5):
        metric = BitsPerDim(num_dims=6)
        for batch in VALUES.split(cut):
            metric.update(batch)
        assert metric.compute().item() == pytest.approx(expected, abs=1e-15)


def test_standard_error() -> None:
    metric = BitsPerDimError(num_dims=6)
    metric.update(VALUES[:2])
    metric.update(VALUES[2:])
    expected = (VALUES / (6 * math.log(2))).std() / math.sqrt(5)
    assert metric.compute().item() == pytest.approx(expected.item(), rel=1e-12)


def test_state_is_not_part_of_a_checkpoint() -> None:
    assert not BitsPerDim(num_dims=6).state_dict()


def _rank(rank: int, path: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{path}", rank=rank, world_size=2)
    metric = BitsPerDim(num_dims=6)
    metric.update(VALUES[:4] if rank == 0 else VALUES[4:])  # uneven on purpose
    expected = VALUES.mean() / (-6 * math.log(2))
    torch.testing.assert_close(metric.compute(), expected, rtol=0, atol=1e-15)
    torch.distributed.destroy_process_group()


def test_exact_over_uneven_ranks(tmp_path) -> None:
    mp.spawn(_rank, args=(str(tmp_path / "store"),), nprocs=2)
