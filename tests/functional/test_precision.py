from collections.abc import Callable, Iterator

import pytest
import torch
from torch import backends

from lightning_flows.functional.precision import full_float32, full_precision, is_reduced

HAS_MODES = hasattr(backends.mkldnn, "conv")  # from torch 2.9 on
MODES = {
    f"{library}.{each}": getattr(getattr(backends, library), each)
    for library, each in (
        ("cuda", "matmul"),
        ("cudnn", "conv"),
        ("cudnn", "rnn"),
        ("mkldnn", "matmul"),
        ("mkldnn", "conv"),
    )
    if HAS_MODES
}
HALF = {
    name: value
    for name, value in {
        "allow_fp16_reduced_precision_reduction": True,
        "allow_bf16_reduced_precision_reduction": True,
        "allow_fp16_accumulation": False,
    }.items()
    if hasattr(backends.cuda.matmul, name)
}
"""Their defaults."""
FULL = ("ieee", "none")


def readings() -> dict[str, object]:
    """All settings; those that contradict each other read as errors."""
    found: dict[str, object] = {name: mode.fp32_precision for name, mode in MODES.items()}
    for name, owner in {"cuda.matmul": backends.cuda.matmul, "cudnn": backends.cudnn}.items():
        for each in ("allow_tf32", *(HALF if name == "cuda.matmul" else ())):
            found[f"{name}.{each}"] = readable(lambda owner=owner, each=each: getattr(owner, each))
    return found | {"matmul precision": readable(torch.get_float32_matmul_precision)}


def readable(setting: Callable[[], object]) -> object:
    try:
        return setting()
    except RuntimeError:
        return "contradictory"


@pytest.fixture(autouse=True)
def settings() -> Iterator[None]:
    """Restore torch's settings at the start of a process."""
    yield
    if HAS_MODES:
        backends.fp32_precision = "none"
        for mode in (backends.mkldnn, *MODES.values()):
            mode.fp32_precision = "none"
    torch.set_float32_matmul_precision("highest")
    backends.cudnn.allow_tf32 = True
    for name, value in HALF.items():
        setattr(backends.cuda.matmul, name, value)
    for name in MODES.keys() & {"cuda.matmul", "mkldnn.matmul"}:
        MODES[name].fp32_precision = "none"


def set_all(**precisions: str) -> None:
    for name, precision in precisions.items():
        MODES[name.replace("_", ".")].fp32_precision = precision


def old_flags() -> None:
    backends.cuda.matmul.allow_tf32 = backends.cudnn.allow_tf32 = True


def whole_process() -> None:
    backends.fp32_precision = "tf32"


REDUCED = {
    "default": lambda: None,
    "medium": lambda: torch.set_float32_matmul_precision("medium"),
    "high": lambda: torch.set_float32_matmul_precision("high"),
    "old flags": old_flags,
    "whole process": whole_process,
    "each": lambda: set_all(cuda_matmul="tf32", cudnn_conv="tf32", mkldnn_matmul="bf16", mkldnn_conv="tf32"),
    "contradictory": lambda: (torch.set_float32_matmul_precision("high"), set_all(cuda_matmul="ieee")),
    "partly": lambda: set_all(cudnn_conv="ieee", mkldnn_conv="bf16"),
}
OLD = ("default", "medium", "high", "old flags")
BY_SETTING = pytest.mark.parametrize("setting", REDUCED if HAS_MODES else OLD)


@BY_SETTING
@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_all_modes_are_full_inside_and_as_before_outside(setting: str, kind: str) -> None:
    REDUCED[setting]()
    before = readings()
    with full_float32(kind):
        assert not is_reduced(kind)
        inside = readings()
        with full_float32(kind):
            assert readings() == inside
        assert readings() == inside
    assert readings() == before
    device = ("cuda", "cudnn") if kind == "cuda" else ("mkldnn",)
    assert all(value in FULL for name, value in inside.items() if name in MODES and name.startswith(device))
    if kind == "cuda":
        assert not any(inside[f"cuda.matmul.{name}"] for name in HALF)
        if setting != "contradictory":  # older settings can be read where they could before
            readable_inside = {name for name, value in inside.items() if value != "contradictory"}
            assert readable_inside >= {name for name, value in before.items() if value != "contradictory"}


@BY_SETTING
def test_an_error_restores_them(setting: str) -> None:
    REDUCED[setting]()
    before = readings()
    with pytest.raises(KeyError), full_precision(torch.zeros(1)), full_float32("cuda"):
        raise KeyError
    assert readings() == before


@pytest.mark.skipif(not HAS_MODES, reason="torch before 2.9 has no fp32_precision")
def test_a_setting_of_the_process_still_applies_afterwards() -> None:
    """Modes that inherit the setting of the process still inherit it afterwards."""
    backends.fp32_precision = "tf32"
    with full_precision(torch.zeros(1)):
        assert backends.mkldnn.conv.fp32_precision == "ieee"
    backends.fp32_precision = "ieee"
    assert backends.mkldnn.conv.fp32_precision == "ieee"
    assert not is_reduced("cpu")


def test_without_reduced_modes_nothing_is_entered() -> None:
    x = torch.randn(4, 4, dtype=torch.float64)
    assert not is_reduced("cpu")
    assert not is_reduced("meta")
    before = readings()
    with full_precision(x):
        assert readings() == before
        assert not torch.is_autocast_enabled("cpu")
        assert (x @ x).dtype == torch.float64


@pytest.mark.parametrize("setting", ["default", "medium"])
def test_autocast_is_disabled_inside_and_restored_after(setting: str) -> None:
    REDUCED[setting]()
    x = torch.randn(4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        with full_precision(x):
            assert (x @ x).dtype == torch.float32
            assert not is_reduced("cpu")
        assert (x @ x).dtype == torch.bfloat16
        assert is_reduced("cpu") == (setting == "medium")
