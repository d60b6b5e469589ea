import math

import pytest
import torch
from torch.optim.lr_scheduler import LRScheduler

from lightning_flows.errors import UsageError
from lightning_flows.modules import WarmupCosine, WarmupExponential
from tests.small_modules import Stripes, graph_module, image_module, trainer
from tests.versions import WEIGHTS_ONLY


def rates(kind: type[LRScheduler], num: int, **options) -> list[float]:
    """Learning rates of the first steps, as multiples of the optimizer's."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    scheduler, found = kind(optimizer, **options), []
    for _ in range(num):
        found.append(optimizer.param_groups[0]["lr"] / 2)
        optimizer.step()
        scheduler.step()
    return found


def test_the_papers_schedule() -> None:
    found = rates(WarmupExponential, 10, warmup_epochs=10, power=2.0, decay=0.995)
    assert [found[e] for e in (0, 4, 9)] == pytest.approx([0.01, 0.25 * 0.995**4, 0.995**9])


def test_a_cosine_ends_at_zero() -> None:
    found = rates(WarmupCosine, 1001, warmup_steps=100, total_steps=1000)
    expected = [0.01, 0.5 * 0.5 * (1 + math.cos(math.pi * 0.049)), 0.5, 0.0]
    assert [found[t] for t in (0, 49, 500, 1000)] == pytest.approx(expected, abs=1e-9)


def test_without_total_steps_only_the_warmup_applies() -> None:
    assert rates(WarmupCosine, 5, warmup_steps=2) == [0.5, 1, 1, 1, 1]


def test_the_cosine_spans_the_training_also_when_resumed(tmp_path) -> None:
    for epochs in (2, 3):
        ckpt_path = tmp_path / "a.ckpt" if epochs == 3 else None
        run = trainer(tmp_path, max_epochs=epochs)
        module = image_module(lr_scheduler=WarmupCosine)
        run.fit(module, Stripes(), ckpt_path=ckpt_path, **WEIGHTS_ONLY)
        assert run.lr_scheduler_configs[0].interval == "step"
        assert run.lr_scheduler_configs[0].scheduler.total_steps == 2 * epochs
        assert run.optimizers[0].param_groups[0]["lr"] == 0
        run.save_checkpoint(tmp_path / "a.ckpt")


def test_when_a_schedule_steps() -> None:
    def interval(**options) -> str:
        return image_module(**options).configure_optimizers()["lr_scheduler"]["interval"]

    assert interval() == "epoch"
    assert interval(lr_interval="step") == "step"
    assert interval(lr_scheduler=lambda o: torch.optim.lr_scheduler.ConstantLR(o)) == "epoch"
    assert graph_module().configure_optimizers()["lr_scheduler"]["interval"] == "step"


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (WarmupExponential, {"warmup_epochs": -1}), (WarmupExponential, {"power": -0.5}),
        (WarmupExponential, {"power": math.nan}), (WarmupExponential, {"decay": 0.0}),
        (WarmupExponential, {"decay": 1.1}), (WarmupCosine, {"warmup_steps": -1}), (WarmupCosine, {"total_steps": 0}),
        (WarmupExponential, {"warmup_epochs": math.inf}), (WarmupCosine, {"warmup_steps": math.nan}),
    ],
)  # fmt: skip
def test_invalid_numbers_are_refused(kind, options) -> None:
    with pytest.raises(UsageError, match=f"expected .*{next(iter(options))}.*; got"):
        rates(kind, 1, **options)


def test_a_schedule_in_steps_is_not_used_per_epoch() -> None:
    module = image_module(lr_interval="epoch", lr_scheduler=WarmupCosine)
    with pytest.raises(UsageError, match="WarmupCosine counts steps of the optimizer: omit lr_interval=epoch"):
        module.configure_optimizers()
