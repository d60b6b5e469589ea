import pytest
import torch

from lightning_flows.reporting.figures.latents import latents_figure


def test_density_of_each_level() -> None:
    generator = torch.Generator().manual_seed(0)
    normal, wide = torch.randn(100_000, generator=generator), 3 * torch.randn(1000, generator=generator)
    (axes,) = latents_figure([normal, wide]).axes
    first, second = [patch for patch in axes.patches if patch.get_label().startswith("level")]
    values, edges, _ = first.get_data()
    expected = torch.exp(-0.5 * ((torch.as_tensor(edges[1:]) + torch.as_tensor(edges[:-1])) / 2).square()) / 2.5066
    assert values == pytest.approx(expected.numpy(), abs=0.02)
    share = 1 - sum(second.get_data().values) * float(edges[1] - edges[0])
    assert share == pytest.approx((wide.abs() > 4).float().mean().item(), abs=1e-3)
    assert f"{100 * share:.2g} % beyond ±4" in second.get_label()
