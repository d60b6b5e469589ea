import pytest
import torch

from lightning_flows.functional.streams import stream
from lightning_flows.reporting.outliers.columns import score_columns, strangeness
from lightning_flows.reporting.outliers.scores import Scored
from tests.reporting.outliers.test_conformal import kolmogorov_smirnov


def drawn(num: int, name: str, shift: float = 0.0) -> Scored:
    """Images whose bits per dimension are largely explained by their size as PNG."""
    png = 5 + torch.randn(num, generator=stream(0, f"png of {name}"), dtype=torch.float64)
    return Scored(png + 0.1 * torch.randn(num, generator=stream(0, f"bits of {name}")).double() + shift, png)


def test_every_p_value_of_held_out_items_is_uniform() -> None:
    columns = score_columns(drawn(1000, "held-out items"), drawn(50_000, "others"), 0.05)
    for name in ("p_likelihood", "p_typicality", "p_complexity"):
        assert kolmogorov_smirnov(columns[name]) > 0.05, name
    assert abs(float(columns["outlier"].double().mean()) - 0.05) < (0.05 * 0.95 / 1000) ** 0.5


def test_items_are_flagged_by_the_score_corrected_for_complexity() -> None:
    columns = score_columns(drawn(200, "items", shift=0.5), drawn(1000, "others"), 0.05)
    assert columns["outlier"].tolist() == (columns["p_complexity"] <= 0.05).long().tolist()
    assert columns["outlier"].sum() > 190
    assert (columns["p_likelihood"] <= 0.05).sum() < 50  # the correction is what detects them
    items, others = (Scored(each.loss) for each in (drawn(200, "items", shift=2.0), drawn(1000, "others")))
    columns = score_columns(items, others, 0.05)
    assert list(columns) == ["typicality", "p_likelihood", "p_typicality", "outlier"]
    assert columns["outlier"].tolist() == (columns["p_likelihood"] <= 0.05).long().tolist()
    assert 0 < columns["outlier"].sum() < 200


def test_without_held_out_items_only_the_image_itself_counts() -> None:
    items = drawn(4, "items")
    assert list(score_columns(items, None)) == ["bpd_minus_png"]
    assert score_columns(items, None)["bpd_minus_png"].tolist() == strangeness(items).tolist()
    assert score_columns(Scored(items.loss), None) == {}


def test_one_held_out_item_does_not_say_what_is_typical() -> None:
    columns = score_columns(drawn(4, "items", shift=9.0), drawn(1, "others"))
    assert columns["p_typicality"].tolist() == [1.0] * 4
    assert columns["p_complexity"].tolist() == [0.5] * 4


def test_typicality_is_about_the_mean_of_held_out_items() -> None:
    held_out = Scored(torch.tensor([1.0, 3.0], dtype=torch.float64))
    columns = score_columns(Scored(torch.tensor([2.0, 7.0], dtype=torch.float64)), held_out)
    assert columns["typicality"].tolist() == pytest.approx([0.0, 5.0])
