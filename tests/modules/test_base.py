from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningDataModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_flows import __version__
from lightning_flows.errors import CheckpointError, InputTypeError, NonFiniteError, UsageError
from lightning_flows.modules import CSF
from lightning_flows.modules.base import check_state_dict
from lightning_flows.modules.diagnosis import first_non_finite


def make(**kwargs) -> CSF:
    options = {"num_levels": 2, "steps_per_level": 1, "hidden_channels": 12, "split_width": 8, "split_depth": 1}
    return CSF((1, 8, 8), **{**options, "split_growth": 8, "warmup_epochs": 1, **kwargs})


class Stripes(LightningDataModule):
    """Always the same 16 striped pictures, in batches of 8."""

    def __init__(self) -> None:
        super().__init__()
        rows = (
            torch.arange(16, dtype=torch.uint8)[:, None, None, None] * 8 + torch.arange(8, dtype=torch.uint8)[:, None]
        )
        self.images = rows.expand(16, 1, 8, 8).contiguous()

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        pictures = [{"image": image, "index": torch.tensor(i)} for i, image in enumerate(self.images)]
        return DataLoader(pictures, batch_size=8)  # type: ignore[arg-type]

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
    with pytest.raises(InputTypeError, match=r"expected pictures in uint8; got torch\.float32"):
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
    assert samples.images.dtype == torch.uint8
    assert samples.images.shape == (3, 1, 8, 8)
    assert samples.num_non_finite == 0
