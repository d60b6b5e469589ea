import pytest
import torch

from lightning_flows.functional import conv_norm_bound
from lightning_flows.reporting.figures.series import NORMS, random_kernels, series_terms, series_terms_figure
from tests.reporting.figures.digest import digest


def test_measured_terms_stay_below_the_bound() -> None:
    data = series_terms(random_kernels(), size=8, num_terms=6)
    assert data.norms.tolist() == pytest.approx(NORMS)
    assert data.bounds[1].tolist() == pytest.approx(
        [1, 0.9, 0.81 / 2, 0.729 / 6, 0.6561 / 24, 0.59049 / 120, 0.531441 / 720]
    )
    assert (data.largest <= data.bounds * (1 + 1e-12)).all()
    assert (data.mean <= data.largest).all()
    assert (data.mean[:, 0] == 1).all()


def test_a_shift_reaches_its_bound_but_for_the_border() -> None:
    shift = torch.zeros(1, 1, 3, 3)
    shift[0, 0, 1, 1] = 0.7  # the identity, scaled: M^i x = 0.7^i x
    data = series_terms([shift], num_terms=5)
    bound = conv_norm_bound(shift.double()) / 0.7
    torch.testing.assert_close(data.mean * bound ** torch.arange(6), data.bounds)


def test_data_stay_what_they_are() -> None:
    assert digest(series_terms(random_kernels(), size=8, num_terms=6)) == "9d5e1c5a9a3336cf"


@pytest.mark.parametrize("num", [1, 4, 9])
def test_legend_names_each_of_few_and_the_ends_of_many(num: int) -> None:
    norms = torch.linspace(0.3, 0.9, num).tolist()
    figure = series_terms_figure(series_terms(random_kernels(norms, channels=1), size=4, num_terms=3))
    texts = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert len(texts) == 2 * (num if num <= 4 else 2)
    assert any("0.90" in text or num == 1 for text in texts)
    assert len(figure.axes[0].lines) == 2 * num
