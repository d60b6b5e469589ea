"""Memory for images: allocated, or refused in one line."""

import pytest
import torch

from lightning_flows.data.datasets import memory
from lightning_flows.errors import DataError


def test_images_are_allocated():
    assert memory.empty_images(2, (3, 4, 5)).shape == (2, 3, 4, 5)
    assert memory.free_memory() > 0


def test_images_beyond_the_memory_are_refused_before_allocation(monkeypatch):
    monkeypatch.setattr(torch, "empty", lambda *args, **kwargs: pytest.fail("taken"))
    with pytest.raises(DataError, match=r"1000 images of 1000000x1000000 pixels with 3 channels need 2793967\.7 GiB"):
        memory.empty_images(1000, (3, 10**6, 10**6))


def test_the_limit_of_a_container_applies(monkeypatch, tmp_path):
    limit = tmp_path / "memory.max"
    limit.write_text("3000\n")
    monkeypatch.setattr(memory, "_LIMITS", (str(limit), str(tmp_path / "missing")))
    assert memory.free_memory() == 3000
    with pytest.raises(DataError, match=r"choose a smaller --data\.size or fewer images"):
        memory.empty_images(1, (3, 32, 32))
    limit.write_text("max\n")
    assert memory.free_memory() > 3000


def test_the_limit_of_the_process_raises_the_same_error(monkeypatch):
    def refuse(*args, **kwargs):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(torch, "empty", refuse)
    with pytest.raises(DataError, match="GiB of memory"):
        memory.empty_images(1, (3, 32, 32))
