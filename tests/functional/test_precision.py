import torch

from lightning_flows.functional.precision import full_precision


def test_autocast_is_disabled_inside_and_restored_after() -> None:
    x = torch.randn(4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        with full_precision(x):
            assert (x @ x).dtype == torch.float32
        assert (x @ x).dtype == torch.bfloat16


def test_without_autocast_nothing_changes() -> None:
    x = torch.randn(4, 4, dtype=torch.float64)
    with full_precision(x):
        assert not torch.is_autocast_enabled("cpu")
        assert (x @ x).dtype == torch.float64
