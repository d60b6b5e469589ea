"""The inputs of figures from a checkpoint; test_figure.py draws each figure."""

from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_flows.app.commands.drawings import DRAWINGS, Request, _choose, _photo
from lightning_flows.app.commands.figure import NUMBERS
from lightning_flows.checkpoints import describe
from lightning_flows.data import DigitsDataModule
from lightning_flows.distributions.graph_mixture import graph_mixture
from lightning_flows.functional.streams import stream
from lightning_flows.modules import VAEModule, load_model
from lightning_flows.posteriors import PlanarPosterior
from lightning_flows.reporting.figures import convolution, graphs, images, outliers, series
from lightning_flows.transforms import ConvExponential
from tests.app.commands.test_sample import save
from tests.small_modules import graph_module
from tests.vae.cases import SMALL


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[Any, ...]]:
    """Record the inputs of each figure instead of drawing it."""
    found: dict[str, tuple[Any, ...]] = {}
    for module in (convolution, graphs, images, outliers, series):
        for name in (name for name in dir(module) if name.endswith("_figure")):
            monkeypatch.setattr(module, name, lambda *arguments, name=name: found.update({name: arguments}))
    return found


def test_each_number_of_the_paper_names_a_figure() -> None:
    assert list(NUMBERS) == ["1", "2", "3", "4", "5"]
    assert set(NUMBERS.values()) < set(DRAWINGS)


def test_random_numbers_depend_on_the_seed() -> None:
    first, again, other = (torch.rand(5, generator=Request("a", seed=seed).generator("b")) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, torch.rand(5, generator=Request("a", seed=1).generator("c")))


def test_the_requested_device_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for available, expected in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda available=available: available)
        assert Request("a").target == torch.device(expected)
        assert Request("a", device="meta").target == torch.device("meta")


def test_images_are_chosen_at_random_without_repetition() -> None:
    all_images = torch.arange(50)
    some = _choose(all_images, 20, Request("a", seed=3))
    assert len(set(some.tolist())) == 20
    assert some.tolist() != sorted(some.tolist())
    assert torch.equal(some, _choose(all_images, 20, Request("b", seed=3)))
    assert not torch.equal(some, _choose(all_images, 20, Request("a", seed=4)))
    assert set(_choose(all_images, 99, Request("a")).tolist()) == set(range(50))


def test_the_photograph_is_centered_at_zero() -> None:
    photo = _photo()
    assert (photo.shape, photo.dtype) == ((96, 96), torch.float64)
    assert -0.5 <= photo.min() < -0.2 < 0.2 < photo.max() <= 0.5


def test_terms_use_the_kernels_of_the_checkpoint(trained: Path, given: dict[str, Any]) -> None:
    DRAWINGS["series_terms"](Request("series_terms", str(trained), seed=2))
    layers = [layer for layer in load_model(trained).modules() if isinstance(layer, ConvExponential)]
    expected = series.series_terms([layer.kernel() for layer in layers], seed=2)
    (found,) = given["series_terms_figure"]
    assert all(map(torch.equal, found, expected))
    assert not torch.equal(found.norms, series.series_terms(series.random_kernels(seed=2), seed=2).norms)


def test_samples_use_num_temperature_and_seed(trained: Path, given: dict[str, Any]) -> None:
    DRAWINGS["samples"](Request("samples", str(trained), num=3, temperature=0.5, seed=2, device="cpu"))
    generator = stream(2, "samples")
    expected = load_model(trained).sample(3, temperature=0.5, generator=generator)
    assert torch.equal(given["samples_figure"][0], expected)


def test_neighbors_of_binary_images_are_gray_where_training_draws_them_anew(
    given: dict[str, Any], tmp_path: Path
) -> None:
    data = DigitsDataModule(binarization="dynamic")
    module = VAEModule((1, 8, 8), 2, PlanarPosterior, latent_size=3, sizes=SMALL)
    record = {"model": describe(module), "data": describe(data)}
    torch.save({"state_dict": module.state_dict(), "lightning_flows": record}, tmp_path / "digits.ckpt")
    DRAWINGS["nearest"](Request("nearest", ckpt_path=str(tmp_path / "digits.ckpt")))
    (neighbors,) = given["neighbors_figure"]
    data.setup("fit")
    gray = (data.dataset("train").images * (255 / 16)).round().to(torch.uint8)  # of 17 levels
    assert neighbors.nearest.unique().numel() > 10
    assert all((gray == each).flatten(1).all(1).any() for each in neighbors.nearest.flatten(0, 1))


def test_graphs_come_from_mixture_and_flow_with_the_seed(given: dict[str, Any], tmp_path: Path) -> None:
    module = graph_module().eval()
    path = save(module, tmp_path / "graphs.ckpt", mixture="mog4")
    DRAWINGS["graphs"](Request("graphs", path, num=5, temperature=0.5, seed=2, device="cpu"))
    data, samples, log_prob = given["graph_figure"]
    assert torch.equal(data, graph_mixture("mog4").sample(5, generator=stream(2, "graphs")))
    expected = module.sample(5, temperature=0.5, generator=stream(2, "samples"))
    assert torch.equal(samples, expected)
    assert torch.equal(log_prob(data), module(data))
