from pathlib import Path

import pytest
import torch

from lightning_flows.callbacks import LatentHistogram
from lightning_flows.reporting.figures.latents import latents_figure
from tests.callbacks.test_monitors import events, fit


def test_histograms_contain_the_latents_of_the_items(tmp_path: Path) -> None:
    fit(tmp_path, "sylvester", [LatentHistogram(num_items=3, every_n_epochs=9)], max_epochs=3)
    found = events(tmp_path)
    sizes = {tag: found.Histograms(tag)[0].histogram_value.num for tag in found.Tags()["histograms"]}
    assert sizes == {"latents/level_1": 3 * 32, "latents/level_2": 3 * 32, "latents/normal": 3 * 32}
    assert [event.step for event in found.Images("latents")] == [2, 6]  # the first and the last epoch


def test_latents_are_standardized_by_their_prior(tmp_path: Path, monkeypatch) -> None:
    shown = []

    def watch(levels):
        shown.append(levels)
        return latents_figure(levels)

    monkeypatch.setattr("lightning_flows.callbacks.latent_histogram.latents_figure", watch)
    module = fit(tmp_path, "sylvester", [LatentHistogram(num_items=2)], max_epochs=1).lightning_module.eval()
    flow = module.model.flow
    images = torch.arange(2)[:, None, None, None] * 8 + torch.arange(8.0)[:, None].expand(2, 1, 8, 8) + 0.5
    with torch.no_grad():
        last = flow.encode(images)[-1]
    expected = ((last - flow.base.mean) / flow.base.log_scale.exp()).flatten()
    torch.testing.assert_close(shown[0][-1], expected.detach(), atol=1e-4, rtol=1e-4)


def test_padding_of_graphs_is_excluded(tmp_path: Path) -> None:
    fit(tmp_path, "graph", [LatentHistogram(num_items=3)], max_epochs=1)
    found = events(tmp_path)
    assert found.Histograms("latents/level_1")[0].histogram_value.num == 3 * 4 * 2
    assert found.Histograms("latents/normal")[0].histogram_value.max == pytest.approx(2.04, abs=0.01)
