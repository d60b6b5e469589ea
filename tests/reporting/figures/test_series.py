import pytest
import torch

from lightning_flows.functional.norms import conv_norm_bound
from lightning_flows.reporting.figures.series import NORMS, random_kernels, series_terms, series_terms_figure


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


@pytest.mark.parametrize("num", [1, 4, 9])
def test_few_convolutions_are_named_and_many_have_a_color_bar(num: int) -> None:
    norms = torch.linspace(0.3, 0.9, num).tolist()
    data = series_terms(random_kernels(norms, channels=1), size=4, num_terms=3)
    axes, *bars = series_terms_figure(data).axes
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    named = [f"$b$ = {norm:.2f}" for norm in norms] if num <= 4 else []
    assert texts == [*named, "bound $b^i/i!$", "measured mean"]
    assert len(bars) == (num > 4)
    drawn = [line.get_ydata() for line in axes.lines if len(line.get_ydata())]
    expected = [values for k in range(num) for values in (data.bounds[k], data.mean[k])]
    assert all(torch.equal(torch.as_tensor(one), other) for one, other in zip(drawn, expected, strict=True))
