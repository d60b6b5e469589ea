from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.cli import ReduceLROnPlateau as PlateauOfMetric
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR, ReduceLROnPlateau

from lightning_flows import __version__
from lightning_flows.app.error_messages import explain
from lightning_flows.checkpoints import describe
from lightning_flows.checkpoints.training import check_state_dict
from lightning_flows.data import ToyDataModule
from lightning_flows.errors import CheckpointError, InputTypeError, NonFiniteError, ShapeError, UsageError
from lightning_flows.flows import AutoregressiveFlow, ConvSylvesterFlow, Flow, GraphNormalizingFlow
from lightning_flows.functional import probes
from lightning_flows.functional.streams import stream
from lightning_flows.modules import GraphFlowModule, ImageFlowModule, VectorFlowModule, WarmupExponential, load_model
from lightning_flows.modules.diagnosis import first_non_finite
from lightning_flows.vae import VAE
from tests.small_modules import (
    SMALL_VARIATIONAL,
    SYLVESTER,
    Stripes,
    graph_module,
    image_module,
    trainer,
    vae_module,
    vector_module,
)
from tests.versions import WEIGHTS_ONLY


@pytest.fixture(scope="module")
def batch() -> dict[str, Tensor]:
    return next(iter(Stripes().train_dataloader()))


def test_a_small_batch_overfits(batch: dict[str, Tensor]) -> None:
    module = image_module(lr=1e-2)
    optimizer = module.configure_optimizers()["optimizer"]
    losses = []
    for step in range(150):
        loss = module.training_step(batch, step)["loss"]
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 2.5 < 5 < losses[0]


@pytest.mark.parametrize("recompute", [(False, False), (True, False), (False, True)])
def test_resuming_equals_never_stopping(recompute: tuple[bool, bool], tmp_path: Path) -> None:
    """Also if only one of the runs recomputes."""

    def fit(epochs: int, ckpt_path: Path | None = None, *, recompute: bool = False) -> ImageFlowModule:
        torch.manual_seed(1)
        module = image_module(dequantization=SMALL_VARIATIONAL, recompute=recompute)
        torch.manual_seed(epochs)  # random numbers of a step follow from the run's seed and the step
        run = trainer(tmp_path, max_epochs=epochs)
        run.fit(module, Stripes(), ckpt_path=ckpt_path, **WEIGHTS_ONLY)
        run.save_checkpoint(tmp_path / "run.ckpt")
        return module

    expected = fit(3).state_dict()
    fit(2, recompute=recompute[0])
    resumed = fit(3, tmp_path / "run.ckpt", recompute=recompute[1]).state_dict()
    for name, value in expected.items():
        torch.testing.assert_close(value, resumed[name], rtol=0, atol=1e-6 if any(recompute) else 0)


BATCHES = {
    image_module: {"image": torch.zeros(2, 1, 8, 8, dtype=torch.uint8)},
    graph_module: {"nodes": torch.zeros(2, 4, 2)},
    vector_module: {"row": torch.zeros(2, 3)},
    vae_module: {"image": torch.zeros(2, 1, 8, 8, dtype=torch.uint8)},
}


@pytest.mark.parametrize("make", BATCHES)
def test_each_item_of_an_evaluation_has_its_own_probes(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    module, seen = make().eval(), []
    owner, name = (VAE, "_terms") if make is vae_module else (Flow, "log_prob_terms")
    terms = getattr(owner, name)
    monkeypatch.setattr(owner, name, lambda *args: seen.append(probes.ITEMS.get()) or terms(*args))
    batch = BATCHES[make] | {"index": torch.tensor([5, 9])}
    module.log_prob(batch)
    module.validation_step(batch, 0)
    assert [items.tolist() for items in seen] == [[5, 9]] * 2
    assert probes.ITEMS.get() is None


def test_training_leaves_the_global_generator_alone(tmp_path: Path) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    module = image_module(dequantization=SMALL_VARIATIONAL)
    torch.manual_seed(7)
    module.training_step({"image": Stripes().images[:4], "index": torch.arange(4)}, 0)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(("seed", "step"), [(0, 0), (0, 7), (4, 7)])
def test_random_numbers_of_a_step_depend_only_on_seed_and_step(seed, step, batch, monkeypatch) -> None:
    monkeypatch.setenv("PL_GLOBAL_SEED", str(seed))
    module, drawn = image_module(), []
    terms = module.training_terms
    monkeypatch.setattr(module, "training_terms", lambda *args: drawn.append(torch.rand(4)) or terms(*args))
    module.training_step(batch, step)
    assert torch.equal(drawn[0], torch.rand(4, generator=stream(seed, "training step", step)))


def test_a_flow_is_a_class_a_partial_or_an_instance() -> None:
    by_class = ImageFlowModule((3, 8, 8), ConvSylvesterFlow)
    assert by_class.model.flow.event_shape == (3, 8, 8)
    flow = ConvSylvesterFlow((1, 8, 8), **SYLVESTER)
    by_instance, by_partial = (
        ImageFlowModule(None, flow),
        ImageFlowModule((1, 8, 8), partial(ConvSylvesterFlow, **SYLVESTER)),
    )
    assert by_instance.model.flow is flow
    assert describe(by_instance) == describe(by_partial)


def test_other_modules_and_shapes_are_refused() -> None:
    with pytest.raises(InputTypeError, match=r"expected a Flow, or a function of event_shape that returns one"):
        ImageFlowModule((1, 8, 8), lambda shape: nn.Linear(2, 2))
    for other in (ConvSylvesterFlow((1, 8, 8), **SYLVESTER), None):
        with pytest.raises(InputTypeError, match=f"expected a GraphFlow, .*; got {type(other).__name__}"):
            GraphFlowModule((1, 8, 8), other)
    with pytest.raises(ShapeError, match=r"expected a Flow with event_shape \(1, 4, 4\); got \(1, 8, 8\)"):
        ImageFlowModule((1, 4, 4), ConvSylvesterFlow((1, 8, 8), **SYLVESTER))
    with pytest.raises(ShapeError, match=r"expected images \(C, H, W\); got a flow of \(4, 2\)"):
        ImageFlowModule((4, 2), GraphNormalizingFlow)


def test_hyperparameters_are_the_plain_arguments() -> None:
    module = image_module(lr=0.25, num_importance_samples=3)
    assert module.hparams["flow"]["init_args"]["hidden_channels"] == 12
    assert module.hparams["optimizer"]["init_args"]["lr"] == 0.25
    assert module.hparams["num_importance_samples"] == 3


@pytest.mark.parametrize(
    ("kind", "precision", "form"),
    [
        (torch.optim.Adam, "32-true", "fused"), (torch.optim.AdamW, "32-true", "fused"),
        (torch.optim.Adam, "bf16-mixed", "foreach"), (torch.optim.Adamax, "32-true", "foreach"),
        (torch.optim.SGD, "32-true", "foreach"),
    ],
)  # fmt: skip
def test_updates_are_fused_or_foreach(kind: type, precision: Any, form: str, tmp_path: Path) -> None:
    """Lightning refuses to clip gradients with a fused optimizer in mixed precision."""
    run = trainer(tmp_path, precision=precision, max_steps=1)
    run.fit(image_module(optimizer=partial(kind, lr=1e-3)), Stripes())
    (group,) = run.optimizers[0].param_groups
    assert type(run.optimizers[0]) is kind
    assert group[form]
    assert not group.get({"fused": "foreach", "foreach": "fused"}[form])


def test_a_chosen_implementation_of_the_update_is_kept() -> None:
    module = image_module(optimizer=partial(torch.optim.Adam, foreach=False))
    (group,) = module.configure_optimizers()["optimizer"].param_groups
    assert (group["foreach"], group["fused"]) == (False, None)


def test_checkpoint_loads_without_arguments(tmp_path: Path, batch: dict[str, Tensor]) -> None:
    module, run = image_module(dequantization=SMALL_VARIATIONAL), trainer(tmp_path)
    run.fit(module, Stripes())
    run.save_checkpoint(tmp_path / "a.ckpt")
    loaded = ImageFlowModule.load_from_checkpoint(tmp_path / "a.ckpt", weights_only=True)
    assert describe(loaded) == describe(module)
    torch.testing.assert_close(loaded.eval().log_prob(batch), module.eval().log_prob(batch), rtol=0, atol=0)
    other = ImageFlowModule.load_from_checkpoint(tmp_path / "a.ckpt", num_importance_samples=5)
    assert other.num_importance_samples == 5


def test_a_checkpoint_is_little_larger_than_its_parameters() -> None:
    module = ImageFlowModule((3, 32, 32), partial(ConvSylvesterFlow, steps_per_level=1))
    own = sum(p.numel() for p in module.parameters())
    assert sum(value.numel() for value in module.state_dict().values()) <= 1.1 * own


def test_state_of_another_model_is_refused() -> None:
    small = {"state_dict": image_module().state_dict()}
    with pytest.raises(CheckpointError, match=r"of a different shape, such as model\.flow"):
        check_state_dict(image_module(hidden_channels=16), small)
    with pytest.raises(CheckpointError, match=r"missing, such as model\.flow"):
        check_state_dict(image_module(steps_per_level=2), small)
    with pytest.raises(CheckpointError, match=rf"lightning_flows 0\.0\.1 wrote it, but this is {__version__}"):
        check_state_dict(image_module(steps_per_level=2), small | {"lightning_flows": {"version": "0.0.1"}})


@pytest.mark.parametrize(
    ("build", "shape", "name"),
    [(AutoregressiveFlow, (2,), "value_map"), (GraphNormalizingFlow, (4, 2), "node_map")],
)
def test_splines_of_earlier_versions_are_refused(build: type, shape: tuple, name: str) -> None:
    for kind, version, fits in (("spline", "0.9.1", False), ("spline", "0.10.0", True), ("mixture", "0.9.1", True)):
        flow = build(shape, **{name: kind})
        checkpoint = {"state_dict": flow.state_dict(), "lightning_flows": {"version": version}}
        refused = pytest.raises(CheckpointError, match=r"0\.9\.1 wrote the checkpoint, with splines that have changed")
        with nullcontext() if fits else refused:
            check_state_dict(flow, checkpoint)


def test_splines_of_earlier_versions_are_refused_even_if_other_differences_are_not(tmp_path: Path) -> None:
    module = VectorFlowModule((2,), partial(AutoregressiveFlow, value_map="spline"))
    run = trainer(tmp_path)
    run.fit(module, ToyDataModule(steps_per_epoch=1, num_val=16))
    run.save_checkpoint(tmp_path / "a.ckpt")
    content = torch.load(tmp_path / "a.ckpt", weights_only=True)
    content["lightning_flows"]["version"] = "0.9.1"
    torch.save(content, tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match="splines that have changed"):
        VectorFlowModule.load_from_checkpoint(tmp_path / "a.ckpt", strict=False)


def test_images_of_another_dtype_are_refused() -> None:
    with pytest.raises(InputTypeError, match=r"expected uint8 images; got torch\.float32"):
        image_module().training_step({"image": torch.full((2, 1, 8, 8), torch.nan), "index": torch.arange(2)}, 0)


def test_the_first_non_finite_layer_is_named(batch: dict[str, Tensor]) -> None:
    module = image_module()
    layer = module.model.flow.levels[1].transforms[1].transforms[1]
    layer.register_forward_hook(lambda *args: (args[2][0] * torch.nan, *args[2][1:]))
    name = r"flow\.levels\.1\.transforms\.1\.transforms\.1 \(ConvSylvester\)"
    with pytest.raises(NonFiniteError, match=rf"testing; got 8 of 8 .* {name}"):
        module.test_step(batch, 0)
    with pytest.raises(NonFiniteError, match=rf"training; got 8 of 8 .* {name}"):
        module.training_step(batch, 0)


def test_finding_the_layer_does_not_change_train_and_eval_modes(batch: dict[str, Tensor]) -> None:
    module = image_module()
    module.model.flow.levels[0].eval()  # frozen
    modes = {name: layer.training for name, layer in module.named_modules()}
    assert len(set(modes.values())) == 2
    assert first_non_finite(module.model, lambda: module.model.elbo(batch["image"])) is None
    assert {name: layer.training for name, layer in module.named_modules()} == modes
    with pytest.raises(KeyError):
        first_non_finite(module.model, lambda: {}["missing"])
    assert {name: layer.training for name, layer in module.named_modules()} == modes


def test_a_non_finite_parameter_is_named(batch: dict[str, Tensor]) -> None:
    module = image_module()
    with torch.no_grad():
        module.model.flow.base.mean[0] = torch.inf
    with pytest.raises(NonFiniteError, match=r"The parameter flow\.base\.mean is not finite"):
        module.validation_step(batch, 0)


SCHEDULES = {
    "none": None,
    "cosine": partial(CosineAnnealingLR, T_max=10),
    "one cycle": partial(OneCycleLR, max_lr=1e-3, total_steps=20),
    "plateau": ReduceLROnPlateau,
    "ours": partial(WarmupExponential, warmup_epochs=3),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_any_schedule_trains_and_resumes_with_a_different_rate(name: str, tmp_path: Path) -> None:
    def module(lr: float) -> ImageFlowModule:
        return image_module(optimizer=partial(torch.optim.AdamW, lr=lr), lr_scheduler=SCHEDULES[name])

    first = trainer(tmp_path)
    first.fit(module(1e-3), Stripes())
    first.save_checkpoint(tmp_path / "a.ckpt")
    (saved,) = first.optimizers[0].param_groups
    rate, rates = saved["lr"], []
    for lr in (1e-3, 3e-3):
        resumed, again = module(lr), trainer(tmp_path, max_epochs=2, limit_train_batches=1)
        resumed.on_train_batch_start = lambda *_, t=again: rates.append(t.optimizers[0].param_groups[0]["lr"])
        again.fit(resumed, Stripes(), ckpt_path=tmp_path / "a.ckpt", **WEIGHTS_ONLY)
    assert rates[0] == pytest.approx(rate)
    if name != "one cycle":  # its rates do not depend on the optimizer's
        assert rates[1] == pytest.approx(3 * rate)


@pytest.mark.parametrize(("monitor", "steps"), [("val/loss", 2), ("train/loss", 4)])
def test_a_plateau_of_validation_is_looked_for_after_each(monitor: str, steps: int, tmp_path: Path) -> None:
    """Without a validation in an epoch, there is nothing new, and at first nothing at all."""
    schedule = partial(PlateauOfMetric, monitor=monitor)
    module = image_module(lr_scheduler=schedule)
    fitted = trainer(tmp_path, max_epochs=4, check_val_every_n_epoch=2, limit_train_batches=1)
    fitted.fit(module, Stripes())
    assert fitted.lr_scheduler_configs[0].scheduler.last_epoch == steps


def test_a_new_schedule_applies_immediately_on_resume(tmp_path: Path) -> None:
    def fit(epochs: int, lr: float, decay: float, **options: Any) -> list[float]:
        rates: list[float] = []
        run = trainer(tmp_path, max_epochs=epochs, limit_train_batches=1)
        module = image_module(lr=lr, lr_scheduler=partial(WarmupExponential, warmup_epochs=1, decay=decay))
        module.on_train_batch_start = lambda *_: rates.append(run.optimizers[0].param_groups[0]["lr"])
        run.fit(module, Stripes(), **options)
        run.save_checkpoint(tmp_path / "run.ckpt")
        return rates

    assert fit(2, 1e-3, 0.9) == pytest.approx([1e-3, 9e-4])
    rates = fit(4, 5e-4, 0.5, ckpt_path=tmp_path / "run.ckpt", **WEIGHTS_ONLY)
    assert rates == pytest.approx([5e-4 * 0.5**2, 5e-4 * 0.5**3])


class Own(ImageFlowModule):
    """A module with its own optimizer; ``form`` determines how it is returned."""

    def __init__(self, event_shape, flow, form: str = "bare", **kwargs: Any) -> None:
        super().__init__(event_shape, flow, **kwargs)
        self.form = form

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=1e-3)
        return {"bare": optimizer, "list": [optimizer], "tuple": ([optimizer], [])}[self.form]


@pytest.mark.parametrize("form", ["bare", "list", "tuple"])
def test_optimizers_of_a_subclass_train_and_resume(form: str, tmp_path: Path) -> None:
    flow = partial(ConvSylvesterFlow, **SYLVESTER)
    run = trainer(tmp_path)
    run.fit(Own((1, 8, 8), flow, form), Stripes())
    run.save_checkpoint(tmp_path / "a.ckpt")
    again = trainer(tmp_path, max_epochs=2)
    again.fit(Own((1, 8, 8), flow, form), Stripes(), ckpt_path=tmp_path / "a.ckpt", **WEIGHTS_ONLY)
    assert again.global_step == 4
    loaded = load_model(tmp_path / "a.ckpt", Own)
    assert (type(loaded), loaded.form) == (Own, form)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("optimizer", {"optimizer": partial(torch.optim.AdamW, lr=1e-3)}),
        ("lr_scheduler", {"lr_scheduler": partial(CosineAnnealingLR, T_max=3)}),
        ("lr_scheduler", {"lr_scheduler": None}),
    ],
)
def test_a_different_optimizer_or_schedule_does_not_resume(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    run = trainer(tmp_path)
    run.fit(image_module(), Stripes())
    run.save_checkpoint(tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match=f"the checkpoint's {name} is .*use --{name} .*--weights_from"):
        trainer(tmp_path, max_epochs=2).fit(
            image_module(**options), Stripes(), ckpt_path=tmp_path / "a.ckpt", **WEIGHTS_ONLY
        )


def test_arguments_that_a_checkpoint_cannot_restore_are_refused_before_training(tmp_path: Path) -> None:
    run = trainer(tmp_path)
    with pytest.raises(UsageError, match=r"model\.optimizer is of .*function.* functools\.partial of a class"):
        run.fit(image_module(optimizer=lambda parameters: torch.optim.Adam(parameters)), Stripes())
    assert run.global_step == 0


def test_the_learning_rate_may_be_set_by_a_tuner() -> None:
    module = image_module(optimizer=partial(torch.optim.AdamW, weight_decay=0.5))
    assert module.learning_rate == 1e-3
    module.learning_rate = 0.25
    optimizer = module.configure_optimizers()["optimizer"]
    assert (optimizer.defaults["lr"], optimizer.defaults["weight_decay"]) == (0.25, 0.5)
    assert describe(module)["init_args"]["optimizer"]["init_args"] == {"weight_decay": 0.5, "lr": 0.25}


def test_compiled_submodules_do_not_change_weight_names(tmp_path: Path) -> None:
    plain, compiled, run = image_module(), image_module(), trainer(tmp_path)
    compiled.model = torch.compile(compiled.model, backend="eager")
    assert compiled.state_dict().keys() == plain.state_dict().keys()
    run.fit(compiled, Stripes())
    run.save_checkpoint(tmp_path / "a.ckpt")
    loaded = load_model(tmp_path / "a.ckpt")
    assert torch.equal(loaded.model.flow.base.mean, compiled.model.flow.base.mean)
    again = image_module()
    again.model = torch.compile(again.model, backend="eager")
    again.load_state_dict(loaded.state_dict())
    trainer(tmp_path, max_epochs=2).fit(again, Stripes(), ckpt_path=tmp_path / "a.ckpt", **WEIGHTS_ONLY)
    old = {f"model._orig_mod.{key.removeprefix('model.')}": value for key, value in loaded.state_dict().items()}
    plain.load_state_dict(old)
    check_state_dict(plain, {"state_dict": old})


class Logging(ImageFlowModule):
    """A module that logs a custom metric."""

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        self.log("mine", 1.0)


@pytest.mark.parametrize("callback", [EarlyStopping, ModelCheckpoint])
def test_an_unknown_monitored_metric_is_refused_before_training(callback: type, tmp_path: Path) -> None:
    run = trainer(tmp_path, callbacks=[callback(monitor="val_bpd")])
    with pytest.raises(UsageError, match="monitors val_bpd, which ImageFlowModule does not log: did you mean val/bpd"):
        run.fit(image_module(), Stripes())
    assert run.global_step == 0


@pytest.mark.parametrize("callback", [EarlyStopping, ModelCheckpoint])
def test_custom_metrics_are_monitored_or_reported(callback: type, tmp_path: Path) -> None:
    trainer(tmp_path, callbacks=[callback(monitor="mine")]).fit(image_module(kind=Logging), Stripes())
    with pytest.raises(Exception, match="mime") as info:
        trainer(tmp_path, callbacks=[callback(monitor="mime")]).fit(image_module(kind=Logging), Stripes())
    message = explain(info.value)
    assert message is not None
    assert "mime" in message
    assert "val/bpd" in message


def test_ranks_are_only_averaged_in_logged_steps(batch, monkeypatch) -> None:
    module, logged, reductions = image_module(), [], []
    loop = SimpleNamespace(total_batch_idx=0)
    run = SimpleNamespace(global_step=0, log_every_n_steps=2, fit_loop=loop)
    monkeypatch.setattr(type(module), "attached", property(lambda self: run))
    monkeypatch.setattr(module, "log", lambda name, value, **options: logged.append((name, value)))
    monkeypatch.setattr("lightning_flows.modules.base.sum_over_ranks", lambda value: reductions.append(1) or value)
    for run.global_step in range(4):
        module.training_step(batch, 0)
    assert len(reductions) == 2
    assert {name for name, _ in logged} == {"train/loss", "train/bpd"}
