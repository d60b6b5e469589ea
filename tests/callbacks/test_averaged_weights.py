"""Averages of Lightning's callbacks: in validation, in checkpoints, in resumed runs and in what reads checkpoints."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer, callbacks
from lightning.pytorch.callbacks import ModelCheckpoint, StochasticWeightAveraging
from torch import Tensor, nn

from lightning_flows.app.cli import main, run
from lightning_flows.app.default_trainer import default_trainer
from lightning_flows.data import GraphMoGDataModule
from lightning_flows.errors import CheckpointError
from lightning_flows.flows import CouplingFlow, GlowFlow, GraphCouplingFlow, ResidualFlow, SetAutoregressiveFlow
from lightning_flows.modules import WarmupCosine, WarmupExponential, load_model
from lightning_flows.nets.spectral_norm import SLACK
from tests.dense import conv_matrix
from tests.small_modules import DENSE, SMALL_VARIATIONAL, Stripes, graph_module, image_module, vae_module
from tests.versions import HAS_AVERAGES, WEIGHTS_ONLY, needs_averages

EPOCHS, STEPS = 3, 2
AVERAGES: dict[str, Any] = {
    "swa": partial(StochasticWeightAveraging, swa_lrs=1e-2, swa_epoch_start=1, annealing_epochs=2)
}
if HAS_AVERAGES:
    AVERAGES |= {"ema": partial(callbacks.EMAWeightAveraging, decay=0.75), "mean": callbacks.WeightAveraging}
LATE: list[Any] = [partial(StochasticWeightAveraging, swa_lrs=1e-2, swa_epoch_start=EPOCHS + 5)]
if HAS_AVERAGES:
    LATE.append(partial(callbacks.EMAWeightAveraging, update_starting_at_step=100))
GLOW = {"num_levels": 2, "steps_per_level": 1, "net": DENSE}
FAMILIES: dict[str, Any] = {
    "sylvester": partial(image_module, dequantization=SMALL_VARIATIONAL),
    "residual": partial(
        image_module, flow=ResidualFlow, num_levels=2, steps_per_level=1, hidden_channels=8, split=DENSE
    ),
    "coupling": partial(
        image_module, flow=CouplingFlow, num_levels=2, steps_per_level=1, hidden_channels=8, split=DENSE
    ),
    **{
        mixing: partial(image_module, flow=GlowFlow, mixing=mixing, **GLOW)
        for mixing in ("conv1x1", "emerging", "woodbury", "conv_exponential")
    },
    "graph": graph_module,
    "graph coupling": partial(graph_module, flow=GraphCouplingFlow, num_steps=2, width=8),
    "set autoregressive": partial(graph_module, flow=SetAutoregressiveFlow),
    "vae": vae_module,
}


class Recorder(Callback):
    """Keeps the parameters after each step, and at the start of each epoch."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Tensor]] = []
        self.losses: list[float] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        self.steps.append({name: value.detach().clone() for name, value in pl_module.named_parameters()})

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.losses.append(trainer.callback_metrics["val/loss"].item())

    def average(self, kind: str) -> dict[str, Tensor]:
        """By the definitions: SWA takes the weights at the start of each epoch, in the first one after a step."""
        swa = [self.steps[0], *self.steps[STEPS - 1 : -1 : STEPS]]
        found = {}
        for name in self.steps[0]:
            values = [each[name] for each in (swa if kind == "swa" else self.steps)]
            found[name] = torch.stack(values).mean(0)
            if kind == "ema":
                found[name] = values[0]
                for value in values[1:]:
                    found[name] = 0.75 * found[name] + 0.25 * value
        return found


def fit(folder: Path, module: Any, *callbacks: Callback, **options: Any) -> Trainer:
    best = ModelCheckpoint(folder, monitor="val/loss", filename="best", enable_version_counter=False)
    if options.pop("weights_only", False):
        best.save_weights_only = True
    defaults = {"max_epochs": EPOCHS, "limit_train_batches": STEPS, "limit_val_batches": 1, "accelerator": "cpu"}
    defaults |= {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = default_trainer(callbacks=[*callbacks, best], num_sanity_val_steps=0, **defaults | options)
    images = len(module.event_shape) == 3
    data = Stripes() if images else GraphMoGDataModule(mixture="mog4", batch_size=8, num_val=8, eval_batch_size=8)
    trainer.fit(module, data, ckpt_path=last if (last := folder / "last.ckpt").exists() else None, **WEIGHTS_ONLY)
    return trainer


def saved(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", AVERAGES)
def test_every_family_validates_saves_and_samples_its_average(family: str, kind: str, tmp_path: Path) -> None:
    module, recorder = FAMILIES[family](), Recorder()
    trainer = fit(tmp_path, module, recorder, AVERAGES[kind]())
    expected, last = recorder.average(kind), saved(tmp_path / "last.ckpt")
    assert any((expected[name] - value).abs().max() > 1e-6 for name, value in recorder.steps[-1].items())
    for name, value in expected.items():
        torch.testing.assert_close(last["state_dict"][name], value, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(last["current_model_state"][name], recorder.steps[-1][name])
        torch.testing.assert_close(module.state_dict()[name], value, rtol=1e-5, atol=1e-6)  # after training
    for name, value in last["state_dict"].items():
        if not value.is_floating_point():
            assert torch.equal(value, last["current_model_state"][name]), name
    loaded = load_model(tmp_path / "last.ckpt")
    batch = next(iter(trainer.val_dataloaders))
    with torch.no_grad():
        loss = loaded.loss_of(loaded.log_prob(batch), batch).mean()
    assert recorder.losses[-1] == pytest.approx(loss.item(), rel=1e-4)
    assert loaded.sample(2).isfinite().all()
    best = min(range(EPOCHS), key=lambda epoch: recorder.losses[epoch])
    assert saved(tmp_path / "best.ckpt")["epoch"] == best


@pytest.mark.parametrize("callback", LATE)
def test_before_the_first_update_the_weights_are_the_current_ones(callback: Any, tmp_path: Path) -> None:
    """Lightning would validate and save the initial weights, before ActNorms are initialized."""
    module, recorder = image_module(), Recorder()
    fit(tmp_path, module, recorder, callback())
    last = saved(tmp_path / "last.ckpt")
    for name, value in recorder.steps[-1].items():
        assert torch.equal(last["state_dict"][name], value)
        assert torch.equal(module.state_dict()[name], value)
    assert "averaging" not in last["lightning_flows"]
    assert all(value for name, value in last["state_dict"].items() if name.endswith("initialized"))
    loaded, batch = load_model(tmp_path / "last.ckpt"), next(iter(Stripes().val_dataloader()))
    loss = loaded.loss_of(loaded.log_prob(batch), batch).mean()
    assert recorder.losses[-1] == pytest.approx(loss.item(), rel=1e-4)


@pytest.mark.parametrize("kind", AVERAGES)
def test_a_weights_only_checkpoint_has_the_average(kind: str, tmp_path: Path) -> None:
    module, recorder = image_module(), Recorder()
    fit(tmp_path, module, recorder, AVERAGES[kind](), weights_only=True, max_epochs=1)
    best = saved(tmp_path / "best.ckpt")
    assert best["lightning_flows"]["averaging"]["num_updates"] == (1 if kind == "swa" else STEPS)
    assert "current_model_state" not in best
    for name, value in recorder.average(kind).items():
        torch.testing.assert_close(best["state_dict"][name], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", AVERAGES)
def test_a_resumed_average_equals_that_of_one_run(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    fit(tmp_path / "whole", image_module(), AVERAGES[kind]())
    for epochs in range(1, EPOCHS + 1):
        torch.manual_seed(0)
        fit(tmp_path / "resumed", image_module(), AVERAGES[kind](), max_epochs=epochs)
    one, other = saved(tmp_path / "whole/last.ckpt"), saved(tmp_path / "resumed/last.ckpt")
    for key in ("state_dict", "current_model_state"):
        for name, value in one[key].items():
            assert torch.equal(value, other[key][name]), (key, name)
    assert one["lightning_flows"] == other["lightning_flows"]


@pytest.mark.parametrize("family", ["sylvester", "residual", "conv_exponential"])
@pytest.mark.parametrize("kind", AVERAGES)
def test_norms_of_an_average_hold_and_it_is_inverted(family: str, kind: str, tmp_path: Path) -> None:
    """The vectors of power iterations belong to the last kernels, which a jump moved far from their average."""

    class Jump(Callback):
        def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            with torch.no_grad():
                for layer in normalized(pl_module).values() if trainer.current_epoch in (0, 4) else ():
                    layer.weight.copy_(torch.randn_like(layer.weight))

    module = FAMILIES[family](lr=1e-2)
    fit(tmp_path, module, Jump(), AVERAGES[kind](), max_epochs=5)
    loaded = load_model(tmp_path / "last.ckpt").eval()
    found = {name: norms(layer) for name, layer in normalized(loaded).items()}
    assert len(found) >= 3
    assert all(0.8 < norm <= SLACK for each in found.values() for norm in each), found
    x, flow = Stripes().images[:4] + 0.5, loaded.model.flow.double()
    with torch.no_grad():
        torch.testing.assert_close(flow.decode(flow.encode(x.double())), x.double(), rtol=0, atol=1e-2)


def normalized(module: nn.Module) -> dict[str, Any]:
    return {
        name: each for name, each in module.named_modules() if hasattr(each, "spectral_norm") and each.spectral_norm
    }


def norms(layer: Any) -> list[float]:
    """Operator norms of a layer's kernels in eval mode, by singular values, relative to the largest permitted one."""
    spectral, found = layer.spectral_norm, []
    with torch.no_grad():
        kernels = layer.kernel().chunk(spectral.groups)
    for kernel in kernels:
        rows, side = kernel.shape[2], kernel.shape[3] // 2
        causal = rows == side + 1 and rows > 1
        padding = (side, side, 0, side) if causal else (side, side, side, side)
        matrix = conv_matrix(kernel, spectral.vector.shape[2:], padding)
        found.append(torch.linalg.matrix_norm(matrix, ord=2).item() / spectral.max_norm)
    return found


@pytest.mark.parametrize("schedule", [WarmupCosine, WarmupExponential, None])
def test_a_stochastic_average_has_its_own_rates(schedule: Any, tmp_path: Path) -> None:
    """It replaces schedules per step and per epoch; a different rate of a resumed run does not apply to it."""
    options = {"lr_scheduler": schedule and partial(schedule, **{f"warmup_{schedule.interval}s": 1})}
    rates = []
    for lr in (1e-3, 0.5):
        average, folder = partial(StochasticWeightAveraging, swa_lrs=1e-2, swa_epoch_start=1), tmp_path / str(lr)
        fit(folder, image_module(**options), average(), max_epochs=2)
        (group,) = fit(folder, image_module(lr=lr, **options), average(), max_epochs=4).optimizers[0].param_groups
        rates.append(group["lr"])
        assert saved(folder / "last.ckpt")["lightning_flows"]["averaging"]["num_updates"] == 4
    assert rates[0] == rates[1] != 1e-2


@needs_averages
def test_resuming_without_the_callback_says_what_it_starts_from(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    fit(tmp_path, image_module(), AVERAGES["ema"](), max_epochs=1)
    fit(tmp_path, image_module(), max_epochs=2)
    expected = "the checkpoint has averaged weights (EMA, decay 0.75, 2 updates), but this run does not average"
    assert any(str(each.message).startswith(expected) for each in recwarn)


@needs_averages
@pytest.mark.parametrize("broken", ["shape", "missing", "kind", "state"])
def test_malformed_current_weights_are_refused(broken: str, tmp_path: Path) -> None:
    fit(tmp_path, image_module(), AVERAGES["ema"](), max_epochs=1)
    checkpoint = saved(tmp_path / "last.ckpt")
    current = checkpoint["current_model_state"]
    name = next(iter(current))
    if broken == "shape":
        current[name] = torch.zeros(3, 5)
    elif broken == "missing":
        del current[name]
    elif broken == "kind":
        checkpoint["current_model_state"] = [1, 2]
    else:
        checkpoint["averaging_state"] = {"n_averaged": "two"}
    torch.save(checkpoint, tmp_path / "last.ckpt")
    with pytest.raises(CheckpointError, match=r"got one of another model|current weights are malformed"):
        fit(tmp_path, image_module(), AVERAGES["ema"](), max_epochs=2)


@needs_averages
def test_the_command_line_uses_the_average_and_says_so(
    tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    options = [*tiny, f"--trainer.logger.init_args.save_dir={tmp_path}"]
    average = ["--trainer.callbacks+=EMAWeightAveraging", "--trainer.callbacks.decay=0.9"]
    run(["fit", *options, *average])
    said = "averaged weights (EMA, decay 0.9, 3 updates)"
    assert said in capsys.readouterr().out  # with the best checkpoint
    best = tmp_path / "demo/version_0/checkpoints/best.ckpt"
    validated = run(["fit", *options, *average, "--ckpt_path=last"]).trainer  # nothing is left to train
    assert validated.global_step == 3
    score = saved(best)["callbacks"]
    (of_best,) = (each["best_model_score"] for key, each in score.items() if key.startswith("ModelCheckpoint"))
    for command in ("validate", "test"):
        caplog.clear()
        with caplog.at_level("INFO"):
            trainer = run([command, "--ckpt_path", str(best)]).trainer
        assert f"the checkpoint has {said}" in caplog.text
        if command == "validate":
            assert trainer.callback_metrics["val/loss"].item() == pytest.approx(of_best.item(), rel=1e-5)
    capsys.readouterr()
    main(["sample", "--ckpt_path", str(best), "--num=2", f"--out={tmp_path / 'samples.png'}"])
    assert f"from {said}" in capsys.readouterr().out
