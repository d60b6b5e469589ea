"""What a checkpoint says about averaged weights."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn, get_ema_multi_avg_fn, get_swa_avg_fn

from lightning_flows.checkpoints.averaging import averaging_in, averaging_method, save_average


def keep_all(old: torch.Tensor, new: torch.Tensor, num: torch.Tensor) -> torch.Tensor:
    return old * (1 - 1 / (num + 1) ** 2) + new / (num + 1) ** 2


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"avg_fn": get_ema_avg_fn(0.999)}, {"method": "EMA", "decay": 0.999}),
        ({"multi_avg_fn": get_ema_multi_avg_fn(0.9995)}, {"method": "EMA", "decay": 0.9995}),
        ({}, {"method": "mean"}),
        ({"avg_fn": get_swa_avg_fn()}, {"method": "mean"}),
        ({"avg_fn": keep_all}, {"method": "other"}),
    ],
)
def test_the_method_is_recognized(options: dict[str, Any], expected: dict[str, Any]) -> None:
    assert averaging_method(AveragedModel(nn.Linear(1, 1), **options)) == expected


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (
            {"method": "EMA", "decay": 0.9995, "num_updates": 12000},
            "averaged weights (EMA, decay 0.9995, 12,000 updates)",
        ),
        ({"method": "SWA", "num_updates": 1}, "averaged weights (SWA, 1 update)"),
        ({"method": "\x1b[31mred", "num_updates": 2}, "averaged weights (other, 2 updates)"),
        ({"method": "EMA", "num_updates": "many"}, None),
        ({"method": "EMA"}, None),
        ("EMA", None),
        (None, None),
    ],
)
def test_one_line_says_how_weights_were_averaged(record: Any, expected: str | None) -> None:
    assert averaging_in({"lightning_flows": {"averaging": record}}) == expected
    assert averaging_in({"lightning_flows": {}}) is None


def test_functions_in_the_states_of_schedules_are_not_saved() -> None:
    states = [{"last_epoch": 1, "anneal_func": abs}, {"last_epoch": 2, "anneal_func": abs}]
    checkpoint = {"state_dict": {}, "lr_schedulers": [states[0]], "callbacks": {"SWA": {"scheduler_state": states[1]}}}
    assert save_average(checkpoint, None, torch.nn.Linear(1, 1)) == {}
    assert states == [{"last_epoch": 1}, {"last_epoch": 2}]
