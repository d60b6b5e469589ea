from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_flows.callbacks.watched import ValidationItems, Watched
from lightning_flows.modules import FlowModule
from tests.small_modules import graph_module, image_module

MASK = torch.arange(4) < torch.tensor([4, 1, 3])[:, None]


def images(num: int, value: int = 0) -> dict[str, Tensor]:
    return {"image": torch.full((num, 1, 8, 8), value, dtype=torch.uint8), "index": torch.arange(num)}


def look(callback: ValidationItems, batch: dict[str, Tensor], batch_idx: int = 0, **options: Any) -> None:
    trainer = SimpleNamespace(**{"is_global_zero": True, "sanity_checking": False, **options})
    callback.on_validation_batch_end(trainer, None, None, batch, batch_idx)


@pytest.mark.parametrize(("num_items", "found"), [(2, 2), (9, 3)])
def test_the_first_items_are_kept_once(num_items: int, found: int) -> None:
    callback, module = ValidationItems(num_items), image_module().eval()
    look(callback, images(3, value=7))
    look(callback, images(3, value=100), batch_idx=1)
    watched = callback.take(module)
    assert torch.equal(watched.x, torch.full((found, 1, 8, 8), 7.5))
    assert callback.take(module) is None
    look(callback, images(3, value=100))  # of the next validation
    assert torch.equal(callback.take(module).x, torch.full((found, 1, 8, 8), 100.5))


@pytest.mark.parametrize("options", [{"is_global_zero": False}, {"sanity_checking": True}])
def test_other_ranks_and_the_sanity_check_keep_none(options: dict[str, bool]) -> None:
    callback = ValidationItems(2)
    look(callback, images(3), **options)
    assert callback.take(image_module()) is None


@torch.no_grad()
def check_round_trip(module: FlowModule, watched: Watched, tol: float) -> None:
    back = module.decode(module.encode(watched.batch), watched.batch)
    torch.testing.assert_close(back[watched.exists], watched.x[watched.exists], rtol=0, atol=tol)


def test_images_go_through_both_directions() -> None:
    callback, module = ValidationItems(2), image_module().eval()
    look(callback, {"image": torch.randint(256, (3, 1, 8, 8), dtype=torch.uint8)})
    watched = callback.take(module)
    assert watched.exists.all()
    assert watched.exists.shape == watched.x.shape
    check_round_trip(module, watched, 0.05)


@pytest.mark.parametrize("mask", [None, MASK], ids=["complete", "padding"])
def test_graphs_are_encoded_as_what_they_are(mask: Tensor | None) -> None:
    callback = ValidationItems(2)
    module = graph_module().double().eval()
    nodes, edges = torch.randn(3, 4, 2, dtype=torch.float64), torch.zeros(3, 4, 4)
    look(callback, {"nodes": nodes, "adjacency": edges} | ({} if mask is None else {"mask": mask}))
    watched = callback.take(module)
    assert torch.equal(watched.x, nodes[:2])
    there = torch.ones(2, 4, dtype=torch.bool) if mask is None else mask[:2]
    assert torch.equal(watched.exists, there[..., None].expand(2, 4, 2))
    (latents,) = module.encode(watched.batch)
    alone = module.model.encode(nodes[:2].reshape(8, 1, 2))[0].reshape(2, 4, 2)  # without edges each node is a graph
    torch.testing.assert_close(latents, torch.where(watched.exists, alone, 0.0), rtol=0, atol=1e-12)
    check_round_trip(module, watched, 1e-9)
