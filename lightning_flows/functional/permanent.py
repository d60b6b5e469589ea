"""The permanent of a positive matrix, by dynamic programming over sets of columns."""

import math
from collections.abc import Callable
from functools import lru_cache
from itertools import combinations

import torch
from torch import Tensor

from lightning_flows.errors import ShapeError

MAX_COLUMNS = 20  # 2^20 sets of columns
CHUNK = 2**16  # sums of a level in memory at once, 8 bytes each: they fit into a cache
SMALLEST = -600.0  # nats; far above log 2^-1022, where float64 loses precision


@torch.no_grad()
def log_permanent(log_matrix: Tensor) -> Tensor:
    r"""Log of the permanent of positive matrices, given their logs.

    .. math:: \log \sum_\pi \prod_{i=1}^n a_{i \pi(i)}, \quad \text{over all injective } \pi: \{1..n\} \to \{1..M\}

    The sums over sets S of k columns, :math:`f_k(S) = \sum_{j \in S} a_{kj} f_{k-1}(S \setminus \{j\})`, are all
    positive, so no digits cancel, unlike in Ryser's formula. A matrix with fewer rows than columns is padded with M − n
    rows of ones, which multiply its permanent by (M − n)!.

    Rows, then columns are scaled to a sum of 1 first. With columns that sum to 1 no f exceeds 1, and underflow changes
    the permanent by less than 1e-300. Where the permanent of the scaled matrix is nearly that small, the sums are
    repeated in logs, about seven times slower; so the result is accurate for all finite entries, and for zeros.

    Shapes: log_matrix ``(B, n, M)``, n ≤ M ≤ 20, in nats; result ``(B,)`` in the input's dtype, computed in float64.
    It requires M 2^(M-1) products per matrix and has no gradient.
    Raises: ShapeError for other shapes.

    >>> log_permanent(torch.zeros(1, 3, 3)).exp()  # 3!
    tensor([6.])
    """
    if log_matrix.ndim != 3 or not 1 <= log_matrix.shape[1] <= log_matrix.shape[2] <= MAX_COLUMNS:
        raise ShapeError(
            f"expected matrices of shape (B, n, M) with 1 <= n <= M <= {MAX_COLUMNS}; got {tuple(log_matrix.shape)}"
        )
    num, rows, columns = log_matrix.shape
    filled = log_matrix.new_zeros(num, columns, columns, dtype=torch.float64)
    filled[:, :rows] = log_matrix
    # fewer than 16 matrices at once would waste the vector units
    chunk = max(16, CHUNK // math.comb(columns, columns // 2))
    found = torch.cat([_log_permanent(part) for part in filled.split(chunk)])
    return (found - math.lgamma(columns - rows + 1)).to(log_matrix.dtype)


def _log_permanent(log_matrix: Tensor) -> Tensor:
    """Log-permanents ``(B,)`` of square matrices ``(B, M, M)``."""
    scaled, log_scale = _scaled(log_matrix)
    found = _column_sets(scaled.exp(), one=1.0, accumulate=lambda total, x, y: total.addcmul_(x, y)).log()
    small = ~(found > SMALLEST)  # NaN too
    found += log_scale
    if small.any():
        found[small] = _column_sets(
            log_matrix[small], one=0.0, accumulate=lambda total, x, y: torch.logaddexp(total, x + y, out=total)
        )
    return found


def _scaled(log_matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Scale rows, then columns to a sum of 1; also return the log of the factor that this removes, ``(B,)``."""
    rows = log_matrix.logsumexp(2, keepdim=True)
    columns = (log_matrix - rows).logsumexp(1, keepdim=True)
    return log_matrix - rows - columns, rows.flatten(1).sum(1) + columns.flatten(1).sum(1)


def _column_sets(matrix: Tensor, *, one: float, accumulate: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
    """Permanents ``(B,)`` of matrices ``(B, M, M)``, where ``accumulate(total, x, y)`` adds x times y to total.

    The batch comes last, so that each gather copies whole rows.
    """
    num, size, _ = matrix.shape
    zero = 0.0 if one else -math.inf
    sums = matrix.new_full((1, num), one)
    for k, row in enumerate(matrix.permute(1, 2, 0).contiguous(), start=1):
        sources, columns = (table.to(matrix.device) for table in _tables(size, k))
        total = matrix.new_full((sources.shape[1], num), zero)
        for source, column in zip(sources, columns, strict=True):
            accumulate(total, sums.index_select(0, source), row.index_select(0, column))
        sums = total
    return sums[0]


@lru_cache(maxsize=2 * MAX_COLUMNS)
def _tables(size: int, k: int) -> tuple[Tensor, Tensor]:
    """For each set of k of ``size`` columns: its positions in level k − 1 without each column, and its columns.

    Both are int32 ``(k, number of sets)``; sets are in lexicographic order.
    """
    position = {smaller: i for i, smaller in enumerate(combinations(range(size), k - 1))}
    sets = list(combinations(range(size), k))
    sources = [[position[s[:i] + s[i + 1 :]] for s in sets] for i in range(k)]
    return torch.tensor(sources, dtype=torch.int32), torch.tensor(sets, dtype=torch.int32).T.contiguous()
