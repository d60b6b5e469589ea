from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_flows.app.default_trainer import default_trainer
from lightning_flows.callbacks import BoundMonitor, OptimizerMonitor, ProgressBar, RuntimeMonitor
from lightning_flows.errors import NonFiniteError
from lightning_flows.modules import FlowModule, diagnosis
from lightning_flows.modules.diagnosis import check_weights
from tests.modules.test_compiled import CASES, batch_of
from tests.small_modules import Stripes, image_module, trainer

ADAM, SGD = partial(torch.optim.Adam, lr=1e-3), partial(torch.optim.SGD, lr=1e-3)
LAYER = r"flow\.levels\.0\.transforms\.0 \(Affine\)"


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check steps on the CPU as on other devices."""
    monkeypatch.setattr(diagnosis, "is_late", lambda device: True)


def breaking(optimizer: Any = ADAM) -> FlowModule:
    """A module that is not finite in the second batch of an epoch, step 1."""
    module: FlowModule = image_module(optimizer=optimizer)
    layer = module.model.flow.levels[0].transforms[0]
    layer.register_forward_hook(lambda layer, args, out: (out[0].where(args[0].max() < 80, torch.nan), out[1]))
    return module


class Watch(Callback):
    """Remembers how many training steps have started, and the weights before each."""

    def __init__(self) -> None:
        self.weights: list[list[torch.Tensor]] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, *args: Any) -> None:
        self.weights.append([parameter.detach().clone() for parameter in pl_module.parameters()])


def fit_until_error(module: FlowModule, folder: Path, *, match: str, **options: Any) -> Watch:
    watch = Watch()
    checkpoints = ModelCheckpoint(folder / "kept", save_top_k=-1, every_n_train_steps=1)
    run = trainer(folder, callbacks=[watch, checkpoints], **{"limit_val_batches": 0} | options)
    with pytest.raises(NonFiniteError, match=match):
        run.fit(module, Stripes())
    assert len(list((folder / "kept").iterdir())) == 1  # that of step 0
    return watch


def test_on_the_cpu_a_step_is_checked_at_once(tmp_path: Path) -> None:
    module = breaking()
    names = rf"training; got 8 of 8 not finite in step 1 because of latents.*{LAYER}"
    watch = fit_until_error(module, tmp_path, match=names)
    assert all(map(torch.equal, watch.weights[1], module.parameters()))


@pytest.mark.usefixtures("late")
@pytest.mark.parametrize("options", [{"max_epochs": 1}, {"max_epochs": 1, "limit_val_batches": 1}, {"max_epochs": 2}])
def test_elsewhere_a_step_is_checked_before_anything_is_written(options: dict[str, Any], tmp_path: Path) -> None:
    """A fused update is skipped, so that the layer can still be found."""
    module = breaking()
    watch = fit_until_error(module, tmp_path, match=rf"in step 1 because of latents.*{LAYER}", **options)
    assert len(watch.weights) == 2
    assert all(map(torch.equal, watch.weights[1], module.parameters()))


@pytest.mark.usefixtures("late")
def test_a_step_is_also_checked_in_the_next_one(tmp_path: Path) -> None:
    module, watch = breaking(), Watch()
    run = trainer(tmp_path, callbacks=[watch], enable_checkpointing=False, max_epochs=2, limit_val_batches=0)
    with pytest.raises(NonFiniteError, match=rf"in step 1 because of latents.*{LAYER}"):
        run.fit(module, Stripes())
    assert len(watch.weights) == 3


@pytest.mark.usefixtures("late")
def test_without_a_fused_update_the_step_is_named(tmp_path: Path) -> None:
    module = breaking(SGD)
    fit_until_error(module, tmp_path, match=r"in step 1 because of latents.*The parameter flow\..* is not finite")


@pytest.mark.usefixtures("late")
def test_late_checks_do_not_change_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = []
    for is_late in (True, False):
        monkeypatch.setattr(diagnosis, "is_late", lambda device, is_late=is_late: is_late)
        torch.manual_seed(0)
        module = image_module(optimizer=ADAM)
        trainer(tmp_path, max_epochs=3).fit(module, Stripes())
        weights.append(list(module.parameters()))
    assert all(map(torch.equal, *weights))


def test_weights_that_are_not_finite_are_not_written(tmp_path: Path) -> None:
    """A loss may be finite while its gradient is not."""
    module, run = image_module(), trainer(tmp_path)
    run.fit(module, Stripes())
    check_weights(module.model)
    with torch.no_grad():
        module.model.flow.base.mean[0] = torch.inf
    with pytest.raises(NonFiniteError, match=r"The parameter flow\.base\.mean is not finite, so no checkpoint was"):
        run.save_checkpoint(tmp_path / "a.ckpt")
    assert not (tmp_path / "a.ckpt").exists()


class Reads(TorchDispatchMode):
    """Counts the operations that make the host wait for values."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        waits = ("_local_scalar_dense", "nonzero", "equal", "masked_select", "_unique2")
        self.count += function._schema.name.removeprefix("aten::") in waits
        return function(*args, **kwargs or {})


@pytest.mark.parametrize("name", CASES)
def test_a_training_step_reads_one_value(name: str) -> None:
    module = CASES[name]()
    module.log, module.batch_size_of = lambda *args, **options: None, lambda batch: 4
    batch = {key: value.float() if key in ("nodes", "row") else value for key, value in batch_of(module).items()}
    optimizer = module.configure_optimizers()["optimizer"]
    module.training_step(batch, 0)["loss"].backward()
    with Reads() as reads:
        module.training_step(batch, 1)["loss"].backward()
        optimizer.step()
    assert reads.count == 1


class CountReads(Callback):
    """Counts the reads of each step; the last callback in its order."""

    def __init__(self, reads: Reads) -> None:
        self.reads, self.counts = reads, [0]

    def on_before_zero_grad(self, *args: Any) -> None:
        self.counts.append(self.reads.count)

    def per_step(self) -> Iterator[int]:
        return (new - old for old, new in zip(self.counts, self.counts[1:], strict=False))


def test_logging_and_callbacks_read_only_in_logged_steps(tmp_path: Path) -> None:
    reads = Reads()
    count = CountReads(reads)
    callbacks = [count, BoundMonitor(), OptimizerMonitor(), RuntimeMonitor(), ProgressBar()]
    options = {"limit_val_batches": 0, "enable_checkpointing": False, "enable_model_summary": False}
    run = default_trainer(
        max_epochs=1, log_every_n_steps=5, callbacks=callbacks, default_root_dir=tmp_path, accelerator="cpu", **options
    )
    with reads:
        run.fit(image_module(), Many())
    assert list(count.per_step())[2:5] == [1, 1, 1]  # after the first value of the bar


class Many(Stripes):
    """The images one by one."""

    def train_dataloader(self) -> Any:
        return torch.utils.data.DataLoader(super().train_dataloader().dataset, batch_size=2)
