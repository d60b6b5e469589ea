"""Global settings are read, changed and restored."""

import torch

from lightning_flows.testing.surroundings import generators, otherwise, reseeded, restored, settings


def test_the_default_device_is_restored_also_after_it_was_reset() -> None:
    torch.set_default_device(None)
    before = settings()
    assert before["default device"] == torch.device("cpu")
    with restored():
        torch.set_default_device("meta")
        assert settings()["default device"] == torch.device("meta")
    assert settings() == before


def test_settings_are_changed_and_restored() -> None:
    before = settings()
    with otherwise():
        changed = {name for name, value in settings().items() if value != before[name]}
    assert {"default dtype", "grad mode", "precision of float32 matrix products"} <= changed
    assert settings() == before


def test_generators_are_reseeded_and_restored() -> None:
    before = generators()
    with reseeded(0):
        first = generators()
    with reseeded(1):
        second = generators()
    assert len({str(each) for each in (before, first, second)}) == 3
    assert all(first[name] != before[name] for name in before)
    assert generators() == before
