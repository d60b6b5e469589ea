import math

import pytest
import torch
from matplotlib.patches import Rectangle

from lightning_flows.functional.philox import streams
from lightning_flows.reporting.figures.outliers import (
    SCORES,
    ImageBits,
    Outliers,
    auroc,
    image_bits,
    outlier_table,
    outliers_figure,
    roc,
)
from tests.reporting.figures.models import SHAPE, small_module, waves


def bits(*flow: float) -> ImageBits:
    return ImageBits(torch.tensor(flow).double(), torch.full((len(flow),), 2.0).double())


DATA = Outliers(bits(4.0, 4.5, 5.0, 5.5), {"dull": bits(1.0, 2.0, 4.7), "noise": bits(40.0, 50.0)}, typical=4.75)


def test_bits_match_the_flow_for_any_batch_size() -> None:
    model, images = small_module().float().model, waves(5, *SHAPE)
    scores = image_bits(model, images, num_draws=2, batch_size=2, seed=3)
    estimate = model.importance_sample(images, 2, noise=streams(3, "evaluation noise", range(5)))
    torch.testing.assert_close(scores.flow, -estimate.log_likelihood.double() / (192 * math.log(2)))
    assert len(scores.png) == 5


def test_auroc_is_the_share_of_pairs_in_the_right_order() -> None:
    generator = torch.Generator().manual_seed(0)
    inliers = torch.randint(60, (50,), generator=generator) + 5000.0  # a sigmoid would make them all equal
    outliers = torch.randint(30, 90, (40,), generator=generator) + 5000.0
    pairs = outliers[:, None] - inliers
    expected = ((pairs > 0).double() + 0.5 * (pairs == 0)).mean().item()
    assert auroc(inliers, outliers) == pytest.approx(expected, abs=1e-6)
    false, true = roc(inliers, outliers)
    assert torch.trapezoid(true, false).item() == pytest.approx(expected, abs=1e-6)


def test_typicality_detects_images_that_are_too_likely() -> None:
    by_bpd, by_typicality, by_complexity = (
        auroc(*(score(scores, DATA.typical) for scores in (DATA.inliers, DATA.outliers["dull"])))
        for score in SCORES.values()
    )
    assert by_bpd == pytest.approx(2 / 12)
    assert by_typicality == pytest.approx(8 / 12)
    assert by_complexity == by_bpd  # all files have the same size


def test_the_size_of_the_png_is_subtracted() -> None:
    scored = ImageBits(torch.tensor([3.0, 5.0, 6.0]).double(), torch.tensor([1.0, 4.0, 9.0]).double())
    assert SCORES["bpd"](scored, 4.5).tolist() == [3, 5, 6]
    assert SCORES["typicality"](scored, 4.5).tolist() == [1.5, 0.5, 1.5]
    assert SCORES["bpd − PNG"](scored, 4.5).tolist() == [2, 1, -3]


def test_table() -> None:
    header, (inliers, dull, noise), _ = outlier_table(DATA)
    assert header == ["images", "number", "bpd", "PNG", "AUROC by bpd", "AUROC by typicality", "AUROC by bpd − PNG"]
    assert inliers == ["in distribution", "4", "4.750", "2.000", "–", "–", "–"]
    assert dull == ["dull", "3", "2.567", "2.000", "0.167", "0.667", "0.167"]
    assert noise == ["noise", "2", "45.000", "2.000", "1.000", "1.000", "1.000"]


def test_figure_has_a_curve_for_each_set_and_score() -> None:
    histogram, *panels = outliers_figure(DATA).axes
    assert histogram.get_xlabel() == "bits per dimension"
    assert {(axes.get_xlabel(), axes.get_ylabel()) for axes in panels} == {
        ("false positive rate", "true positive rate")
    }
    assert [axes.get_title() for axes in panels] == [f"ROC by {name}" for name in SCORES]
    for axes in panels:
        labels = [text.get_text() for text in axes.get_legend().get_texts()]
        assert [label.split(":")[0] for label in labels] == ["dull", "noise", "chance"]
    assert "dull: 0.667" in panels[1].get_legend().get_texts()[0].get_text()


@pytest.mark.parametrize("scale", [1e-3, 0.3, 1.0, 30.0])
@pytest.mark.parametrize("spread", [1e-3, 1.0])
def test_the_histogram_counts_all_images(scale: float, spread: float) -> None:
    generator = torch.Generator().manual_seed(0)
    sets = [scale * (1 + spread * torch.rand(9, generator=generator).double()) ** 4 for _ in range(20)]
    for one, other in zip(sets[::2], sets[1::2], strict=True):
        found = outliers_figure(Outliers(ImageBits(one, one), {"other": ImageBits(other, other)}, typical=1.0))
        bars = sum(patch.get_height() for patch in found.axes[0].patches if isinstance(patch, Rectangle))
        assert bars == pytest.approx(2)
        assert len([each for each in found.axes[0].get_xticklabels() if each.get_text()]) > 1
