"""Tests of measured modules."""

from contextlib import nullcontext
from functools import partial

import pytest
import torch

from lightning_flows.app.bench import Bench, Variant
from lightning_flows.data import GraphMoGDataModule, ImageFolderDataModule, ToyDataModule
from lightning_flows.errors import UsageError
from lightning_flows.flows import AutoregressiveFlow
from lightning_flows.modules import VectorFlowModule
from tests.small_modules import graph_module, image_module

CPU = torch.device("cpu")


def images() -> Bench:
    return Bench(image_module(), ImageFolderDataModule("nowhere", size=8, channels=1), CPU)


def variant(bench: Bench) -> Variant:
    return Variant(nullcontext, bench.loss)


def test_steps_train_the_module() -> None:
    bench = images()
    bench.fill(5)
    before = [p.clone() for p in bench.module.parameters()]
    bench.step(variant(bench), 1)
    assert any(not torch.equal(p, old) for p, old in zip(bench.module.parameters(), before, strict=True))
    assert bench.batch["image"].shape == (5, 1, 8, 8)


def test_memory_grows_with_the_batch() -> None:
    bench = images()
    bench.fill(8)
    small = bench.memory(variant(bench))
    bench.fill(128)
    assert 4 * small < bench.memory(variant(bench)) < 16 * small


def test_sampling_leaves_the_module_in_train_mode() -> None:
    bench = images()
    assert bench.sample(variant(bench)) > 0
    assert bench.module.training


def test_graphs_have_the_structure_of_the_data() -> None:
    bench = Bench(graph_module(), GraphMoGDataModule(sizes=[2, 4]), CPU)
    bench.fill(16)
    assert set(bench.batch["mask"].sum(1).tolist()) == {2, 4}
    bench.step(variant(bench), 1)


def test_vectors_are_random_numbers() -> None:
    bench = Bench(VectorFlowModule((3,), partial(AutoregressiveFlow, width=8)), ToyDataModule(), CPU)
    bench.fill(16)
    assert bench.batch["row"].shape == (16, 3)
    bench.step(variant(bench), 1)
    assert bench.sample(variant(bench)) > 0
    assert bench.describe().startswith("AutoregressiveFlow of 0.00 million parameters; batch 16 of (3,)")


def test_other_modules_are_refused() -> None:
    module = graph_module()
    module.__class__ = type("Own", (module.__class__.__base__,), {"__abstractmethods__": frozenset()})  # type: ignore
    with pytest.raises(UsageError, match="no data for Own"):
        Bench(module, GraphMoGDataModule(), CPU)
