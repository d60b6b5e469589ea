"""p-values of held-out items are uniform, and never too low."""

import math

import pytest
import torch

from lightning_flows.errors import NonFiniteError, UsageError
from lightning_flows.functional.streams import stream
from lightning_flows.reporting.outliers.conformal import check_attainable, check_rate, p_values


def kolmogorov_smirnov(p: torch.Tensor) -> float:
    """p-value of the hypothesis that ``p`` is uniform on [0, 1], by the asymptotic distribution of the distance."""
    num = len(p)
    steps = torch.arange(num + 1, dtype=torch.float64) / num
    ordered = p.sort().values
    distance = float(torch.maximum(steps[1:] - ordered, ordered - steps[:-1]).max())
    terms = [(-1) ** (k - 1) * math.exp(-2 * k**2 * num * distance**2) for k in range(1, 101)]
    return min(1.0, 2 * sum(terms))


def test_each_p_value_is_a_count() -> None:
    scores, held_out = torch.randn(2, 40).unbind()
    expected = [(1 + sum(bool(other >= score) for other in held_out)) / 41 for score in scores]
    torch.testing.assert_close(p_values(scores, held_out), torch.tensor(expected, dtype=torch.float64), rtol=0, atol=0)


def test_p_values_of_held_out_items_are_uniform() -> None:
    """Each of 1,000 items has its own held-out items: those compared with the same ones share their error."""
    rows = torch.randn(1000, 1001, generator=stream(0, "scores"))
    p = torch.cat([p_values(row[:1], row[1:]) for row in rows])
    assert kolmogorov_smirnov(p) > 0.05
    assert kolmogorov_smirnov(torch.cat([p_values(row[:1] + 0.3, row[1:]) for row in rows])) < 1e-6  # others


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.2])
def test_the_rate_is_the_requested_one(rate: float) -> None:
    scores = torch.randn(4000, 300, generator=stream(1, "scores"))
    flagged = torch.cat([p_values(row[:1], row[1:]) <= rate for row in scores]).double()
    assert abs(float(flagged.mean()) - rate) < 2 * math.sqrt(rate * (1 - rate) / len(flagged))
    for row in scores[:3]:  # exactly, with each item in turn as the one that is scored
        p = torch.cat([p_values(row[i : i + 1], torch.cat([row[:i], row[i + 1 :]])) for i in range(300)])
        assert (p <= rate).sum() == round(rate * 300)


def test_ties_make_p_values_larger_but_never_lower() -> None:
    assert p_values(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 1.0, 1.0])).tolist() == [1.0, 0.25]
    rows = torch.randint(3, (4000, 100), generator=stream(0, "ties")).double()
    p = torch.cat([p_values(row[:1], row[1:]) for row in rows])
    for rate in (0.05, 0.2, 0.4):
        assert float((p <= rate).double().mean()) <= rate + 2.5 * math.sqrt(rate * (1 - rate) / len(p))


def test_a_single_held_out_item_leaves_two_p_values() -> None:
    assert p_values(torch.tensor([0.0, 1.0, 2.0]), torch.tensor([1.0])).tolist() == [1.0, 1.0, 0.5]


def test_the_lowest_p_value_is_flagged_at_its_own_rate() -> None:
    for num in (1, 2, 6, 19, 99, 999):
        rate = 1 / (num + 1)
        check_attainable(rate, num)
        assert p_values(torch.tensor([1.0]), torch.zeros(num)).item() <= rate
        with pytest.raises(UsageError, match=f"and {num} are used"):
            check_attainable(0.99 * rate, num)
    match = r"0\.05 requires at least 19 held-out items, and 18 are used: choose a rate of at least 0\.053, or use more"
    with pytest.raises(UsageError, match=match):
        check_attainable(0.05, 18)


def test_undefined_scores_have_no_p_value() -> None:
    nan = torch.tensor([0.0, math.nan])
    for arguments in ((nan, torch.zeros(2)), (torch.zeros(2), nan)):
        with pytest.raises(NonFiniteError, match="got NaN"):
            p_values(*arguments)
    with pytest.raises(UsageError, match="got none"):
        p_values(torch.zeros(2), torch.empty(0))


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, 1.5, math.nan, math.inf])
def test_rates_out_of_range(rate: float) -> None:
    with pytest.raises(UsageError, match="use a number above 0 and below 1"):
        check_rate(rate)
