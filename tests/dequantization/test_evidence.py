import math

import pytest
import torch

from lightning_flows.dequantization.evidence import ROUND, gather_evidence

LOG_WEIGHTS = torch.tensor([[-1.0, 0.5, 2.0], [-900.0, -901.0, -899.0], [3.0, 3.0, 3.0]], dtype=torch.float64)


def gather(table: torch.Tensor, num_draws: int, *, chunk_size: int = 4, target_error: float | None = None):
    """Weights from a table, by image and draw; an image's draws go round in its row."""
    drawn = [0] * len(table)
    sizes = []

    def log_weight(rows, generators):
        assert len(generators) == len(rows)
        sizes.append(len(rows))
        values = []
        for i in rows.tolist():
            values.append(table[i, drawn[i] % table.shape[1]])
            drawn[i] += 1
        return torch.stack(values)

    generators = [torch.Generator() for _ in table]
    evidence = gather_evidence(
        log_weight, generators, num_draws, chunk_size=chunk_size, device=torch.device("cpu"), target_error=target_error
    )
    return evidence, sizes


def test_against_the_formulas():
    evidence, sizes = gather(LOG_WEIGHTS, 3)
    assert sizes == [4, 4, 1]
    torch.testing.assert_close(evidence.bound, LOG_WEIGHTS.mean(1))
    torch.testing.assert_close(evidence.log_likelihood, LOG_WEIGHTS.logsumexp(1) - math.log(3))
    weights = (LOG_WEIGHTS - LOG_WEIGHTS.amax(1, keepdim=True)).exp()
    expected = weights.std(1) / weights.mean(1) / 3**0.5
    torch.testing.assert_close(evidence.error, expected, rtol=1e-6, atol=1e-7)
    assert evidence.num_draws.tolist() == [3, 3, 3]


@pytest.mark.parametrize("num_draws", [1, ROUND - 1, ROUND, ROUND + 1, 3 * ROUND])
def test_rounds_do_not_matter(num_draws):
    evidence, sizes = gather(LOG_WEIGHTS, num_draws, chunk_size=17)
    assert max(sizes) <= 17
    assert sum(sizes) == 3 * num_draws
    index = torch.arange(num_draws) % 3
    torch.testing.assert_close(evidence.bound, LOG_WEIGHTS[:, index].mean(1))
    expected = LOG_WEIGHTS[:, index].logsumexp(1) - math.log(num_draws)
    torch.testing.assert_close(evidence.log_likelihood, expected)


def test_each_image_stops_by_itself():
    evidence, _ = gather(LOG_WEIGHTS, 10 * ROUND, target_error=0.06)
    relative = LOG_WEIGHTS.exp()[0].std(correction=0) / LOG_WEIGHTS.exp()[0].mean()
    needed = math.ceil((relative.item() / 0.06) ** 2 / ROUND) * ROUND
    assert evidence.num_draws.tolist()[0] in (needed, needed + ROUND)
    assert evidence.num_draws.tolist()[2] == ROUND  # equal weights: certain after the first round
    assert evidence.error[2] < 1e-7


def test_not_a_number_is_not_hidden():
    evidence, _ = gather(torch.tensor([[0.0, torch.nan]], dtype=torch.float64), 2)
    assert evidence.bound.isnan().all()
    assert evidence.log_likelihood.isnan().all()


def test_progress_is_told_after_each_chunk():
    shares = []
    log_weight = lambda rows, generators: torch.zeros(len(rows))  # noqa: E731
    generators = [torch.Generator() for _ in range(2)]
    options = {"device": torch.device("cpu"), "on_progress": shares.append}
    gather_evidence(log_weight, generators, 2 * ROUND, chunk_size=ROUND, **options)
    assert shares == [0.25, 0.5, 0.75, 1.0, 1.0]
    shares.clear()
    gather_evidence(log_weight, generators, 4 * ROUND, chunk_size=2 * ROUND, target_error=1.0, **options)
    assert shares == [0.25, 1.0]  # certain after the first round
