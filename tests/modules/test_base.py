from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_flows import __version__
from lightning_flows.app.error_messages import explain
from lightning_flows.errors import CheckpointError, InputTypeError, NonFiniteError, UsageError
from lightning_flows.modules import CSF, load_model
from lightning_flows.modules.base import check_state_dict
from lightning_flows.modules.diagnosis import first_non_finite


def make(**kwargs) -> CSF:
    options = {"num_levels": 2, "steps_per_level": 1, "hidden_channels": 12, "split_width": 8, "split_depth": 1}
    return CSF((1, 8, 8), **{**options, "split_growth": 8, "warmup_epochs": 1, **kwargs})


class Stripes(LightningDataModule):
    """Always the same 16 striped images, in batches of 8."""

    def __init__(self) -> None:
        super().__init__()
        rows = (
            torch.arange(16, dtype=torch.uint8)[:, None, None, None] * 8 + torch.arange(8, dtype=torch.uint8)[:, None]
        )
        self.images = rows.expand(16, 1, 8, 8).contiguous()

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        images = [{"image": image, "index": torch.tensor(i)} for i, image in enumerate(self.images)]
        return DataLoader(images, batch_size=8)  # type: ignore[arg-type]

    val_dataloader = test_dataloader = predict_dataloader = train_dataloader


def trainer(folder: Path, **kwargs) -> Trainer:
    options = {"max_epochs": 1, "logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    options |= {"accelerator": "cpu", "default_root_dir": folder, "gradient_clip_val": 1.0}
    return Trainer(**{**options, **kwargs})


@pytest.fixture(scope="module")
def batch() -> dict[str, Tensor]:
    return next(iter(Stripes().train_dataloader()))


def test_a_small_batch_overfits(batch: dict[str, Tensor]) -> None:
    module = make(learning_rate=1e-2)
    optimizer = module.configure_optimizers()["optimizer"]
    first = None
    for _ in range(150):
        loss = module._bits(module(batch["image"])).mean()
        first = first or loss.item()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 2.5 < 5 < first


def test_resuming_equals_never_stopping(tmp_path: Path) -> None:
    def fit(epochs: int, ckpt_path: Path | None = None) -> CSF:
        torch.manual_seed(1)
        module = make()
        torch.manual_seed(epochs)  # the noise of a step follows from the run's seed and the step
        run = trainer(tmp_path, max_epochs=epochs)
        run.fit(module, Stripes(), ckpt_path=ckpt_path, weights_only=True if ckpt_path else None)
        run.save_checkpoint(tmp_path / "run.ckpt")
        return module

    whole = fit(3)
    fit(2)
    resumed = fit(3, tmp_path / "run.ckpt")
    for (name, expected), value in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(expected, value), name


def test_learning_rate_follows_the_papers_schedule() -> None:
    module = make(warmup_epochs=10, warmup_power=2.0, decay=0.995)
    assert [module.learning_rate_factor(e) for e in (0, 4, 9)] == pytest.approx([0.01, 0.25 * 0.995**4, 0.995**9])


@pytest.mark.parametrize(("name", "kind"), [("adam", torch.optim.Adam), ("adamax", torch.optim.Adamax)])
def test_optimizers(name: str, kind: type) -> None:
    assert type(make(optimizer=name).configure_optimizers()["optimizer"]) is kind


@pytest.mark.parametrize(("precision", "fused"), [("32-true", True), ("bf16-mixed", None), ("16-mixed", None)])
def test_adam_is_fused_but_in_mixed_precision(precision: Any, fused: bool | None, tmp_path: Path) -> None:
    """Lightning refuses to clip gradients beside a fused one there."""
    run, module = trainer(tmp_path, precision=precision, max_steps=1), make()
    run.fit(module, Stripes())
    assert run.global_step == 1
    assert run.optimizers[0].defaults["fused"] is fused


def test_bound_and_likelihood_have_names_of_their_own(tmp_path: Path) -> None:
    (results,) = trainer(tmp_path).test(make(num_importance_samples=8), Stripes(), verbose=False)
    assert set(results) == {
        "test/bpd", "test/bpd_standard_error", "test/nll_bpd", "test/nll_bpd_standard_error", "test/importance_samples",
    }  # fmt: skip
    (results,) = trainer(tmp_path).test(make(), Stripes(), verbose=False)
    assert set(results) == {"test/bpd", "test/bpd_standard_error"}


def test_checkpoint_loads_without_arguments(tmp_path: Path, batch: dict[str, Tensor]) -> None:
    module, run = make(), trainer(tmp_path)
    run.fit(module, Stripes())
    run.save_checkpoint(tmp_path / "a.ckpt")
    loaded = CSF.load_from_checkpoint(tmp_path / "a.ckpt", weights_only=True)
    v = batch["image"] + 0.5
    torch.testing.assert_close(
        loaded.eval().model.flow.log_prob(v), module.eval().model.flow.log_prob(v), rtol=0, atol=0
    )


def test_checkpoint_weighs_little_more_than_its_parameters() -> None:
    module = CSF((3, 32, 32), steps_per_level=1)
    own = sum(p.numel() for p in module.parameters())
    assert sum(value.numel() for value in module.state_dict().values()) <= 1.1 * own


def test_state_of_another_model_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"of another shape, such as model\.flow"):
        check_state_dict(make(), {"state_dict": make(hidden_channels=16).state_dict()})
    with pytest.raises(CheckpointError, match=r"missing, such as model\.flow"):
        check_state_dict(make(steps_per_level=2), {"state_dict": make().state_dict()})
    older = {"state_dict": make().state_dict(), "lightning_flows": {"version": "0.0.1"}}
    with pytest.raises(CheckpointError, match=rf"written by lightning_flows 0\.0\.1, and this is {__version__}"):
        check_state_dict(make(steps_per_level=2), older)


def test_nan_in_a_batch_is_refused(batch: dict[str, Tensor]) -> None:
    with pytest.raises(InputTypeError, match=r"expected images in uint8; got torch\.float32"):
        make().training_step({"image": torch.full((2, 1, 8, 8), torch.nan)}, 0)


def test_layer_at_fault_is_named(batch: dict[str, Tensor]) -> None:
    module = make()
    layer = module.model.flow.levels[1].transforms[2]
    layer.register_forward_hook(lambda *args: (args[2][0] * torch.nan, args[2][1]))
    assert (
        first_non_finite(module.model, lambda: module.model.elbo(batch["image"]))
        == "flow.levels.1.transforms.2 (ConvSylvester)"
    )
    with pytest.raises(
        NonFiniteError, match=r"testing; got 8 of 8 .* flow\.levels\.1\.transforms\.2 \(ConvSylvester\)"
    ):
        module.test_step(batch, 0)


def test_looking_for_a_layer_at_fault_leaves_the_modes_of_all(batch: dict[str, Tensor]) -> None:
    module = make()
    frozen = module.model.flow.levels[0]
    frozen.eval()
    modes = {name: layer.training for name, layer in module.named_modules()}
    assert len(set(modes.values())) == 2
    assert first_non_finite(module.model, lambda: module.model.elbo(batch["image"])) is None
    assert {name: layer.training for name, layer in module.named_modules()} == modes
    with pytest.raises(KeyError):
        first_non_finite(module.model, lambda: {}["missing"])
    assert {name: layer.training for name, layer in module.named_modules()} == modes


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("warmup_epochs", [-1]), ("warmup_power", [-0.5, torch.inf, torch.nan]), ("decay", [0.0, 1.1, torch.nan]),
        ("num_importance_samples", [-1, -5]), ("importance_error", [0.0, torch.nan]), ("eval_chunk_size", [0, -1]),
    ],
)  # fmt: skip
def test_numbers_that_make_no_sense_are_refused(name: str, values: list[float]) -> None:
    for value in values:
        with pytest.raises(UsageError, match=f"expected .*{name}.*; got .*{value}"):
            make(**{name: value})


def test_parameter_at_fault_is_named(batch: dict[str, Tensor]) -> None:
    module = make()
    with torch.no_grad():
        module.model.flow.base.mean[0] = torch.inf
    with pytest.raises(NonFiniteError, match=r"The parameter flow\.base\.mean is not finite"):
        module.validation_step(batch, 0)


def test_sampling_gives_whole_levels() -> None:
    samples = make().eval().sample(3)
    assert samples.dtype == torch.uint8
    assert samples.shape == (3, 1, 8, 8)


class Own(CSF):
    """A flow whose optimizer and schedule are chosen by name."""

    def __init__(self, event_shape, kind: str = "bare", **kwargs) -> None:
        super().__init__(event_shape, **kwargs)

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.hparams["learning_rate"])
        schedules = {
            "cosine": lambda: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=10),
            "one cycle": lambda: torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-3, total_steps=20),
            "plateau": lambda: torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer),
        }
        kind = self.hparams["kind"]
        if kind in ("bare", "list", "tuple"):
            return {"bare": optimizer, "list": [optimizer], "tuple": ([optimizer], [])}[kind]
        schedule = {"scheduler": schedules[kind]()}
        return {
            "optimizer": optimizer,
            "lr_scheduler": schedule | ({"monitor": "val/bpd"} if kind == "plateau" else {}),
        }


def make_own(kind: str, **kwargs) -> Own:
    options = {"num_levels": 2, "steps_per_level": 1, "hidden_channels": 12, "split_width": 8, "split_depth": 1}
    return Own((1, 8, 8), kind, **{**options, "split_growth": 8, **kwargs})


@pytest.mark.parametrize("kind", ["bare", "list", "tuple", "cosine", "one cycle", "plateau"])
def test_own_optimizers_and_schedules_train_and_go_on(kind: str, tmp_path: Path) -> None:
    first = trainer(tmp_path)
    first.fit(make_own(kind), Stripes())
    first.save_checkpoint(tmp_path / "a.ckpt")
    (saved,) = first.optimizers[0].param_groups
    rate, rates = saved["lr"], []
    for learning_rate in (1e-3, 3e-3):
        module, again = (
            make_own(kind, learning_rate=learning_rate),
            trainer(tmp_path, max_epochs=2, limit_train_batches=1),
        )
        module.on_train_batch_start = lambda *_, t=again: rates.append(t.optimizers[0].param_groups[0]["lr"])
        again.fit(module, Stripes(), ckpt_path=tmp_path / "a.ckpt", weights_only=True)
    assert rates[0] == pytest.approx(rate)
    if kind != "one cycle":  # its rates do not follow from learning_rate
        assert rates[1] == pytest.approx(3 * rate)


@pytest.mark.parametrize(
    "options", [{"learning_rate": 0.0}, {"learning_rate": -1.0}, {"learning_rate": float("nan")}, {"betas": (0.9, 1.0)},
                {"betas": (0.9,)}, {"eps": -1e-8}, {"learning_rate": float("inf")}],
)  # fmt: skip
def test_senseless_optimizer_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        make(**options)


def test_a_compiled_part_leaves_the_names_of_weights(tmp_path: Path) -> None:
    plain, compiled, run = make(), make(), trainer(tmp_path)
    compiled.model = torch.compile(compiled.model, backend="eager")
    assert compiled.state_dict().keys() == plain.state_dict().keys()
    run.fit(compiled, Stripes())
    run.save_checkpoint(tmp_path / "a.ckpt")
    loaded = load_model(tmp_path / "a.ckpt")
    assert torch.equal(loaded.model.flow.base.mean, compiled.model.flow.base.mean)
    again = make()
    again.model = torch.compile(again.model, backend="eager")
    again.load_state_dict(loaded.state_dict())
    trainer(tmp_path, max_epochs=2).fit(again, Stripes(), ckpt_path=tmp_path / "a.ckpt", weights_only=True)
    old = {f"model._orig_mod.{key.removeprefix('model.')}": value for key, value in loaded.state_dict().items()}
    plain.load_state_dict(old)
    check_state_dict(plain, {"state_dict": old})


class Told(CSF):
    """A flow that logs a metric of its own."""

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        self.log("mine", 1.0)


@pytest.mark.parametrize("callback", [EarlyStopping, ModelCheckpoint])
def test_a_metric_that_nobody_logs_is_refused_before_training(callback: type, tmp_path: Path) -> None:
    run = trainer(tmp_path, callbacks=[callback(monitor="val_bpd")])
    with pytest.raises(UsageError, match=r"monitors val_bpd, which CSF does not log: did you mean val/bpd\?"):
        run.fit(make(), Stripes())
    assert run.global_step == 0


@pytest.mark.parametrize("callback", [EarlyStopping, ModelCheckpoint])
def test_metrics_of_one_s_own_are_monitored_or_told(callback: type, tmp_path: Path) -> None:
    options = {"num_levels": 1, "steps_per_level": 1, "hidden_channels": 8}
    trainer(tmp_path, callbacks=[callback(monitor="mine")]).fit(Told((1, 8, 8), **options), Stripes())
    with pytest.raises(Exception, match="mime") as info:
        trainer(tmp_path, callbacks=[callback(monitor="mime")]).fit(Told((1, 8, 8), **options), Stripes())
    message = explain(info.value)
    assert message is not None
    assert message.startswith("mime is monitored, and nothing logs it: monitor one of ")
    assert "val/bpd" in message
