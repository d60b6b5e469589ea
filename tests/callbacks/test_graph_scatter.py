"""When it draws, and that what it draws is the same graphs and latents each time."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from lightning_flows.callbacks import GraphScatter
from lightning_flows.distributions.graph_mixture import graph_mixture
from lightning_flows.errors import OutputError
from lightning_flows.flows import GraphCouplingFlow
from lightning_flows.functional.streams import stream
from lightning_flows.modules import GraphFlowModule
from tests.callbacks.test_monitors import events, fit
from tests.small_modules import graph_module


class Figure:
    """What matplotlib's would do, but for drawing."""

    def savefig(self, file: Any, **options: Any) -> None:
        file.write(b"an image")


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Tensor, Tensor]]:
    """Data and samples of each figure."""
    found = []

    def graph_figure(data: Tensor, samples: Tensor, log_prob: Any) -> Figure:
        assert log_prob(data).shape == (len(data),)
        found.append((data, samples))
        return Figure()

    monkeypatch.setattr("lightning_flows.callbacks.graph_scatter.graph_figure", graph_figure)
    return found


@pytest.fixture
def module() -> GraphFlowModule:
    return graph_module(flow=GraphCouplingFlow, num_steps=1, width=8, depth=1).eval()


def validate(callback: GraphScatter, module: GraphFlowModule, folder: Path, epoch: int = 0, **options: Any) -> None:
    trainer = {
        "datamodule": SimpleNamespace(graph_mixture=graph_mixture("mog4")), "current_epoch": epoch, "max_epochs": 9,
        "sanity_checking": False, "fast_dev_run": False, "checkpoint_callbacks": [],
        "logger": None, "default_root_dir": folder,
    }  # fmt: skip
    callback.on_validation_epoch_end(SimpleNamespace(**{**trainer, **options}), module)


def test_data_and_latents_are_the_same_each_time(module, drawn, tmp_path: Path) -> None:
    state = torch.get_rng_state()
    for epoch in (0, 1):
        validate(GraphScatter(num_graphs=5), module, tmp_path, epoch)
    validate(GraphScatter(num_graphs=5, seed=1), module, tmp_path, 2)
    assert torch.equal(torch.get_rng_state(), state)
    (data, samples), (same_data, same_samples), (other_data, other_samples) = drawn
    assert data.shape == samples.shape == (5, 4, 2)
    assert torch.equal(data, same_data)
    assert torch.equal(samples, same_samples)
    assert torch.equal(samples, module.sample(5, generator=stream(0, "samples of an image")))
    assert (data != other_data).all()
    assert (samples != other_samples).all()


@pytest.mark.parametrize(
    "options",
    [
        {"datamodule": SimpleNamespace(graph_mixture=None)},  # graphs with padding or edges of their own
        {"datamodule": SimpleNamespace()},  # images
        {"datamodule": None},  # loaders alone
        {"sanity_checking": True},
        {"epoch": 3},
    ],
    ids=["no_mixture", "no_graphs", "no_datamodule", "sanity_check", "not_due"],
)
def test_otherwise_nothing_is_drawn(options: dict[str, Any], module, drawn, tmp_path: Path) -> None:
    validate(GraphScatter(num_graphs=5, every_n_epochs=2), module, tmp_path, **options)
    assert drawn == []
    assert not list(tmp_path.iterdir())


def test_the_first_rank_alone_draws(module, drawn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    validate(GraphScatter(num_graphs=5), module, tmp_path)
    assert drawn == []


def weights(trainer: Trainer) -> Tensor:
    return torch.cat([p.detach().flatten() for p in trainer.lightning_module.parameters()])


def test_a_training_is_drawn_when_due_and_at_its_end_and_is_the_same_without(tmp_path: Path) -> None:
    states = []
    for name, callbacks in (("without", []), ("with", [GraphScatter(num_graphs=4, every_n_epochs=2)])):
        states.append((weights(fit(tmp_path / name, "graph", callbacks, max_epochs=4)), torch.get_rng_state()))
    assert all(map(torch.equal, *states))
    files = sorted((tmp_path / "with/samples").iterdir())
    assert [file.name for file in files] == ["epoch_0000.png", "epoch_0002.png", "epoch_0003.png"]
    assert files[0].read_bytes().startswith(b"\x89PNG")
    shown = events(tmp_path / "with").Images("graphs")
    assert [event.step for event in shown] == [2, 6, 8]  # two steps an epoch


def test_a_image_is_not_written_through_a_link(module, drawn, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run/samples").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match="samples is a link"):
        validate(GraphScatter(num_graphs=5), module, tmp_path / "run")
    (tmp_path / "run/samples").unlink()
    (tmp_path / "run/samples").mkdir()
    (tmp_path / "run/samples/epoch_0000.png").symlink_to(tmp_path / "elsewhere/a.png")
    validate(GraphScatter(num_graphs=5), module, tmp_path / "run")
    assert not list((tmp_path / "elsewhere").iterdir())
    assert (tmp_path / "run/samples/epoch_0000.png").read_bytes() == b"an image"
