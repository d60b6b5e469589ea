from pathlib import Path

import pytest
import torch
from lightning.pytorch.utilities import rank_zero_only
from torchvision.io import read_image

from lightning_flows.callbacks import LatentHistogram, RuntimeMonitor, SampleGrid
from lightning_flows.errors import ConvergenceError, OutputError, UsageError
from lightning_flows.functional.streams import stream
from tests.callbacks.test_monitors import KINDS, curve, events, fit


@pytest.mark.parametrize("kind", ["sylvester", "graph"])
def test_a_png_per_epoch_shows_samples_of_the_same_noise(tmp_path: Path, kind: str, monkeypatch) -> None:
    module = KINDS[kind][0]()
    noises, sample = [], module.sample

    def watch(*args, generator, **options):
        noises.append(torch.rand(3, generator=generator.clone_state()))
        return sample(*args, generator=generator, **options)

    monkeypatch.setattr(module, "sample", watch)
    monkeypatch.setitem(KINDS, "watched", (lambda: module, KINDS[kind][1]))
    fit(tmp_path, "watched", [SampleGrid(num_samples=4)])
    assert torch.equal(noises[0], noises[1])
    files = sorted((tmp_path / "samples").iterdir())
    assert [file.name for file in files] == ["epoch_0000.png", "epoch_0001.png"]
    expected = module.draw(sample(4, generator=stream(0, "sample grid")))
    assert torch.equal(read_image(str(files[1])), expected)
    assert [event.step for event in events(tmp_path).Images("samples")] == [2, 4]


@pytest.mark.parametrize("end", [{"max_epochs": 4}, {"max_epochs": -1, "max_steps": 8}])
def test_samples_are_drawn_at_the_interval_and_at_the_end(end: dict[str, int], tmp_path: Path) -> None:
    fit(tmp_path, "graph", [SampleGrid(num_samples=2, every_n_epochs=2)], **end)
    assert sorted(file.stem for file in (tmp_path / "samples").iterdir()) == ["epoch_0000", "epoch_0002", "epoch_0003"]
    assert len(curve(tmp_path, "runtime/sample_seconds_per_image")) == 3


def test_training_is_the_same_with_and_without_samples(tmp_path: Path) -> None:
    def weights(callbacks):
        module = fit(tmp_path, "sylvester", callbacks).lightning_module
        return torch.cat([p.detach().flatten() for p in module.parameters()])

    assert torch.equal(weights([]), weights([SampleGrid(num_samples=2), RuntimeMonitor()]))


def test_samples_that_do_not_converge_do_not_end_training(tmp_path: Path, monkeypatch) -> None:
    module = KINDS["sylvester"][0]()

    def refuse(*args, **options):
        raise ConvergenceError("no convergence", 1.0)

    monkeypatch.setattr(module, "sample", refuse)
    monkeypatch.setitem(KINDS, "stuck", (lambda: module, KINDS["sylvester"][1]))
    with pytest.warns(UserWarning, match="no samples in epoch 0: no convergence"):
        assert fit(tmp_path, "stuck", [SampleGrid(), RuntimeMonitor()]).global_step == 4


def test_only_the_first_rank_draws(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    SampleGrid().on_validation_epoch_end(None, None)


def test_a_trial_run_writes_no_file(tmp_path: Path) -> None:
    fit(tmp_path, "graph", [SampleGrid(num_samples=2)], fast_dev_run=True)
    assert not list(tmp_path.rglob("*.png"))


def test_no_file_is_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run/samples").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match="samples"):
        fit(tmp_path / "run", "graph", [SampleGrid(num_samples=2)], max_epochs=1)
    (tmp_path / "run/samples").unlink()
    (tmp_path / "run/samples").mkdir()
    (tmp_path / "run/samples/epoch_0000.png").symlink_to(tmp_path / "elsewhere/a.png")
    fit(tmp_path / "run", "graph", [SampleGrid(num_samples=2)], max_epochs=1)
    assert not list((tmp_path / "elsewhere").iterdir())
    assert not (tmp_path / "run/samples/epoch_0000.png").is_symlink()


@pytest.mark.parametrize("kind", [LatentHistogram, SampleGrid])
def test_an_interval_of_zero_epochs_is_refused(kind: type) -> None:
    with pytest.raises(UsageError, match="every_n_epochs is 0: use at least 1, or remove the callback"):
        kind(every_n_epochs=0)
