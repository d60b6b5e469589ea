"""log_permanent against a sum over permutations, for extreme values and for large matrices."""

import math
from itertools import permutations

import pytest
import torch
from torch import Tensor

from lightning_flows.errors import ShapeError
from lightning_flows.functional import permanent
from lightning_flows.functional.permanent import log_permanent


def brute_force(log_matrix: Tensor) -> Tensor:
    """Sum over all injective assignments of rows to columns, in logs."""
    rows = torch.arange(log_matrix.shape[1])
    chosen = torch.tensor(list(permutations(range(log_matrix.shape[2]), len(rows))))
    return log_matrix[:, rows, chosen].sum(2).logsumexp(1)


def log_matrices(*shape: int, spread: float = 3.0) -> Tensor:
    return spread * torch.randn(*shape, dtype=torch.float64)


@pytest.mark.parametrize(
    ("rows", "columns"), [(1, 1), (2, 2), (3, 3), (4, 4), (6, 6), (1, 4), (2, 3), (3, 6), (5, 6), (2, 7)]
)
@pytest.mark.parametrize("spread", [0.1, 3.0, 30.0, 1000.0])
def test_against_brute_force(rows, columns, spread):
    log_matrix = log_matrices(40, rows, columns, spread=spread)
    expected = brute_force(log_matrix)
    torch.testing.assert_close(log_permanent(log_matrix), expected, rtol=1e-14, atol=1e-12)


EXTREME = {
    "tiny": torch.full((3, 3), -2000.0),
    "tiny but one": torch.full((3, 3), -2000.0).index_put((torch.tensor(1), torch.tensor(2)), torch.tensor(0.0)),
    "equal rows": torch.tensor([[0.0, -500.0, -2000.0, 700.0]]).expand(4, 4),
    "rivals": torch.tensor([[0.0, -2000.0, -2000.0], [0.0, -1000.0, -3000.0], [-900.0, 0.0, -1500.0]]),
    "price war": torch.tensor(  # three rows for two columns: scaling leaves a permanent of e^-1000
        [[0.0, 0.0, -1000.0, -5000.0]] * 3 + [[-9000.0, -9000.0, 0.0, -1.0]]
    ),
    "zeros": torch.tensor([[0.0, -math.inf, 1.0], [-math.inf, 2.0, -math.inf], [0.5, -math.inf, -math.inf]]),
    "no way": torch.tensor([[0.0, 1.0], [-math.inf, -math.inf]]),
    "wide": torch.tensor([[0.0, -2000.0, -2000.0, -1000.0], [0.0, -1500.0, -1999.0, -3000.0]]),
}


@pytest.mark.parametrize("name", EXTREME)
def test_extreme_matrices(name):
    log_matrix = EXTREME[name].double().unsqueeze(0)
    torch.testing.assert_close(log_permanent(log_matrix), brute_force(log_matrix), rtol=1e-14, atol=1e-12)


def test_only_matrices_that_nearly_underflow_use_logs(monkeypatch):
    slow: list[int] = []
    column_sets = permanent._column_sets

    def spy(matrix, *, one, accumulate):
        if one == 0:
            slow.append(len(matrix))
        return column_sets(matrix, one=one, accumulate=accumulate)

    monkeypatch.setattr(permanent, "_column_sets", spy)
    ordinary = log_matrices(50, 4, 4, spread=30.0)
    log_permanent(ordinary)
    assert slow == []
    together = torch.cat([ordinary, EXTREME["price war"].double().unsqueeze(0)])
    torch.testing.assert_close(log_permanent(together), brute_force(together), rtol=1e-14, atol=1e-12)
    assert slow == [1]


@pytest.mark.parametrize("size", [1, 9, 16])
def test_ones(size):
    found = log_permanent(torch.zeros(2, size, size, dtype=torch.float64))
    assert found.tolist() == pytest.approx([math.lgamma(size + 1)] * 2, rel=1e-14)
    found = log_permanent(torch.zeros(1, max(1, size // 2), size, dtype=torch.float64))
    assert found.item() == pytest.approx(math.log(math.perm(size, max(1, size // 2))), rel=1e-14)


def test_blocks_multiply():
    """Four blocks of four, hundreds of nats apart from each other, in a mixed order."""
    blocks = log_matrices(4, 4, 4, spread=20.0)
    log_matrix = torch.full((16, 16), -math.inf, dtype=torch.float64)
    for i, block in enumerate(blocks):
        log_matrix[4 * i : 4 * i + 4, 4 * i : 4 * i + 4] = block - 500 * i
    shuffled = log_matrix[torch.randperm(16)][:, torch.randperm(16)]
    expected = log_permanent(blocks).sum() - 4 * 500 * 6
    assert log_permanent(shuffled.unsqueeze(0)).item() == pytest.approx(expected.item(), rel=1e-13)
    assert log_permanent(shuffled.clamp(min=-1e5).unsqueeze(0)).item() == pytest.approx(expected.item(), rel=1e-13)


def test_order_and_scale():
    log_matrix = log_matrices(30, 7, 9)
    expected = log_permanent(log_matrix)
    shuffled = log_matrix[:, torch.randperm(7)][:, :, torch.randperm(9)]
    torch.testing.assert_close(log_permanent(shuffled), expected, rtol=0, atol=1e-12)
    scale = log_matrices(30, 7, 1, spread=100.0)
    torch.testing.assert_close(log_permanent(log_matrix + scale), expected + scale.sum((1, 2)), rtol=0, atol=1e-11)


def test_chunks_change_nothing(monkeypatch):
    log_matrix = log_matrices(40, 5, 5)
    expected = log_permanent(log_matrix)
    monkeypatch.setattr(permanent, "CHUNK", 1)
    assert len(log_permanent(log_matrix)) == 40
    torch.testing.assert_close(log_permanent(log_matrix), expected, rtol=0, atol=1e-13)


def test_dtype_gradient_and_empty_batches():
    log_matrix = log_matrices(5, 3, 4).float().requires_grad_()
    found = log_permanent(log_matrix)
    assert found.dtype == torch.float32
    assert not found.requires_grad
    torch.testing.assert_close(found, brute_force(log_matrix.detach().double()).float())
    assert log_permanent(torch.zeros(0, 3, 4)).shape == (0,)
    assert log_permanent(torch.full((2, 2, 2), math.nan)).isnan().all()


@pytest.mark.parametrize("shape", [(3, 3), (1, 4, 3), (1, 0, 3), (1, 21, 21), (1, 2, 21)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ShapeError, match=r"expected matrices of shape \(B, n, M\) with 1 <= n <= M <= 20; got \("):
        log_permanent(torch.zeros(shape))
