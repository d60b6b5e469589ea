from pathlib import Path

import pytest

from lightning_flows.callbacks import BoundMonitor
from tests.callbacks.test_monitors import KINDS, curve, fit


@pytest.mark.parametrize("kind", KINDS)
def test_terms_of_logged_steps_sum_to_the_loss(tmp_path: Path, kind: str) -> None:
    fit(tmp_path, kind, [BoundMonitor()], log_every_n_steps=2)
    names = ["latents", "log_det"] + ([] if kind == "graph" else ["dequantization"])
    sums = [sum(values) for values in zip(*(curve(tmp_path, f"bound/{name}") for name in names), strict=True)]
    assert sums == pytest.approx(curve(tmp_path, "train/loss"), rel=1e-5)
    assert len(sums) == 2  # of four steps


def test_uniform_noise_has_no_dequantization_term(tmp_path: Path) -> None:
    fit(tmp_path, "sylvester", [BoundMonitor()], max_epochs=1)
    assert set(curve(tmp_path, "bound/dequantization")) == {0.0}
