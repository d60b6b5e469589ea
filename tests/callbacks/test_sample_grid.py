import pytest
import torch
from lightning.pytorch import Trainer
from torchvision.io import ImageReadMode, read_image

from lightning_flows.callbacks import GraphScatter, LatentHistogram, RuntimeMonitor, SampleGrid
from lightning_flows.errors import ConvergenceError, UsageError
from lightning_flows.functional.streams import stream
from tests.small_modules import Stripes, image_module


def fit(folder, module, callbacks, **kwargs) -> Trainer:
    trainer = Trainer(
        default_root_dir=folder, max_epochs=2, callbacks=callbacks, accelerator="cpu", enable_progress_bar=False,
        enable_model_summary=False, log_every_n_steps=1, enable_checkpointing=False, **kwargs,
    )  # fmt: skip
    trainer.fit(module, Stripes())
    return trainer


def test_same_latents_each_time(tmp_path) -> None:
    module = image_module()
    drawn = []
    sample = module.sample

    def watch(*args, **kwargs):
        latents = torch.rand(3, generator=kwargs["generator"].clone_state())
        drawn.append((latents, sample(*args, **kwargs)))
        return drawn[-1][1]

    module.sample = watch
    fit(tmp_path, module, [SampleGrid(num_samples=4)])
    grids = sorted(tmp_path.rglob("epoch_*.png"))
    assert [grid.name for grid in grids] == ["epoch_0000.png", "epoch_0001.png"]
    assert len(drawn) == 2
    assert torch.equal(drawn[0][0], drawn[1][0])
    assert torch.equal(drawn[1][1], sample(4, generator=stream(0, "sample grid")))
    shown = read_image(str(grids[1]), ImageReadMode.RGB)
    assert torch.equal(shown, image_module().draw(drawn[1][1]))


def test_training_is_the_same_with_and_without_samples(tmp_path) -> None:
    def weights(callbacks):
        torch.manual_seed(0)
        module = image_module()
        fit(tmp_path, module, callbacks)
        return torch.cat([p.detach().flatten() for p in module.parameters()])

    assert torch.equal(weights([]), weights([SampleGrid(num_samples=2), RuntimeMonitor(num_samples=2)]))


def test_a_sample_that_does_not_converge_does_not_end_training(tmp_path, monkeypatch) -> None:
    module = image_module()

    def refuse(*args, **kwargs):
        raise ConvergenceError("expected convergence", 1.0)

    monkeypatch.setattr(module.model, "sample", refuse)
    assert fit(tmp_path, module, [SampleGrid(), RuntimeMonitor()]).global_step == 4


def test_grid_is_square() -> None:
    assert image_module().draw(torch.zeros(5, 3, 8, 8, dtype=torch.uint8)).shape == (3, 2 * 10 + 2, 3 * 10 + 2)


@pytest.mark.parametrize("kind", [GraphScatter, LatentHistogram, SampleGrid])
def test_never_is_no_number_of_epochs(kind: type) -> None:
    with pytest.raises(UsageError, match="every_n_epochs is 0: give at least 1, or leave the callback out"):
        kind(every_n_epochs=0)
