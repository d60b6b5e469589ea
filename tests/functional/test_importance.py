import math

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lightning_flows.functional.importance import ROUND, LikelihoodEstimate, importance_weights

LOG_WEIGHTS = torch.tensor([[-1.0, 0.5, 2.0], [-900.0, -901.0, -899.0], [3.0, 3.0, 3.0]], dtype=torch.float64)


def gather(table: Tensor, num_draws: int, **options) -> tuple[LikelihoodEstimate, list[int]]:
    """Weights from a table, by image and draw; the draws of an image cycle through its row."""
    sizes = []

    def weigh(images: Tensor, draws: Tensor) -> tuple[Tensor]:
        sizes.append(len(images))
        return (table[images, draws % table.shape[1]],)

    options = {"chunk_size": 4, "device": torch.device("cpu")} | options
    return importance_weights(weigh, len(table), num_draws, **options), sizes


def test_against_the_formulas() -> None:
    estimate, _ = gather(LOG_WEIGHTS, 3)
    torch.testing.assert_close(estimate.bound, LOG_WEIGHTS.mean(1))
    torch.testing.assert_close(estimate.log_likelihood, LOG_WEIGHTS.logsumexp(1) - math.log(3))
    weights = (LOG_WEIGHTS - LOG_WEIGHTS.amax(1, keepdim=True)).exp()
    expected = weights.std(1) / weights.mean(1) / 3**0.5
    torch.testing.assert_close(estimate.error, expected, rtol=1e-6, atol=1e-7)
    assert estimate.num_draws.tolist() == [3, 3, 3]
    assert estimate.means == ()


@pytest.mark.parametrize("chunk_size", [17, 2 * ROUND])
@pytest.mark.parametrize("num_draws", [1, ROUND - 1, ROUND, ROUND + 1, 3 * ROUND])
def test_rounds_and_chunks_do_not_matter(num_draws: int, chunk_size: int) -> None:
    estimate, sizes = gather(LOG_WEIGHTS, num_draws, chunk_size=chunk_size)
    assert max(sizes) <= chunk_size
    assert sum(sizes) == 3 * num_draws
    index = torch.arange(num_draws) % 3
    torch.testing.assert_close(estimate.bound, LOG_WEIGHTS[:, index].mean(1))
    expected = LOG_WEIGHTS[:, index].logsumexp(1) - math.log(num_draws)
    torch.testing.assert_close(estimate.log_likelihood, expected)


@pytest.mark.parametrize("chunk_size", [1, 48, 64, 100])
def test_all_chunks_but_the_last_of_a_round_are_whole(chunk_size: int) -> None:
    """Chunks contain draws of several images, and no round ends within one unless errors are to be checked."""
    _, sizes = gather(LOG_WEIGHTS[:1], 1000, chunk_size=chunk_size)
    assert len(sizes) == -(-1000 // chunk_size)
    _, sizes = gather(LOG_WEIGHTS, 1000, chunk_size=chunk_size)
    assert len(sizes) == -(-3000 // chunk_size)
    _, sizes = gather(LOG_WEIGHTS, 2 * ROUND, chunk_size=chunk_size, target_error=1e-3)
    assert sum(sizes) == 5 * ROUND  # the third image is done after its first round


def test_memory_does_not_grow_with_the_number_of_draws() -> None:
    """No tensor has more elements than a round of draws."""

    class Largest(TorchDispatchMode):
        most = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            for each in tree_leaves(result):
                self.most = max(self.most, each.numel() if isinstance(each, Tensor) else 0)
            return result

    most = []
    for num_draws in (10 * ROUND, 100 * ROUND):
        with Largest() as largest:
            gather(LOG_WEIGHTS, num_draws)
        most.append(largest.most)
    assert most[0] == most[1] <= 3 * ROUND


def test_weights_of_probability_zero_count() -> None:
    table = torch.tensor([[-torch.inf, 0.0], [-torch.inf, -torch.inf]], dtype=torch.float64)
    estimate, _ = gather(table, 2 * ROUND, chunk_size=2)
    assert estimate.log_likelihood.tolist() == [pytest.approx(-math.log(2)), -math.inf]
    assert estimate.bound.tolist() == [-math.inf, -math.inf]


def test_each_image_stops_separately() -> None:
    estimate, _ = gather(LOG_WEIGHTS, 10 * ROUND, target_error=0.06)
    relative = LOG_WEIGHTS.exp()[0].std(correction=0) / LOG_WEIGHTS.exp()[0].mean()
    needed = math.ceil((relative.item() / 0.06) ** 2 / ROUND) * ROUND
    assert estimate.num_draws.tolist()[0] in (needed, needed + ROUND)
    assert estimate.num_draws.tolist()[2] == ROUND  # equal weights: certain after the first round
    assert estimate.error[2] < 1e-7


def test_nan_is_propagated() -> None:
    estimate, _ = gather(torch.tensor([[0.0, torch.nan]], dtype=torch.float64), 2)
    assert estimate.bound.isnan().all()
    assert estimate.log_likelihood.isnan().all()


def test_further_values_are_averaged_over_all_draws() -> None:
    errors = torch.arange(2.0 * 3 * ROUND).reshape(2, 3 * ROUND)
    estimate = importance_weights(
        lambda images, draws: (torch.zeros(len(draws)), errors[images, draws], 2 * errors[images, draws]),
        2,
        3 * ROUND,
        chunk_size=7,
        device=torch.device("cpu"),
    )
    torch.testing.assert_close(estimate.means, (errors.double().mean(1), 2 * errors.double().mean(1)))


@pytest.mark.parametrize("options", [{"num_draws": 0}, {"num_draws": 2.5}, {"chunk_size": 0}, {"target_error": 0.0}])
def test_wrong_arguments(options: dict) -> None:
    name = next(iter(options))
    with pytest.raises(ValueError, match=f"expected .*{name}"):
        gather(LOG_WEIGHTS, **{"num_draws": 2} | options)
