import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback

from lightning_flows.data import ToyDataModule
from lightning_flows.flows import AutoregressiveFlow
from lightning_flows.modules import VectorFlowModule
from lightning_flows.modules.metrics import MeanAndError
from tests.process_group import run_two
from tests.small_modules import graph_module, image_module, trainer, vae_module, vector_module

VALUES = torch.tensor([-1.0, -2.0, -4.0, -8.0, -32.0])
EXPECTED = VALUES.double().mean().item(), VALUES.double().std().item() / math.sqrt(5)


def test_neither_mean_nor_error_depends_on_the_batches() -> None:
    for size in (1, 2, 5):
        metric = MeanAndError()
        for batch in VALUES.split(size):
            metric.update(batch)
        assert [value.item() for value in metric.compute()] == pytest.approx(EXPECTED, abs=1e-14)


def test_small_differences_of_large_values_are_kept() -> None:
    metric = MeanAndError()
    metric.update(torch.tensor([1e8, 1e8 + 8]))
    mean, error = metric.compute()
    assert (mean.item(), error.item()) == (1e8 + 4, 4)


def test_a_single_value_has_no_error() -> None:
    metric = MeanAndError()
    metric.update(torch.ones(1))
    assert [value.item() for value in metric.compute()] == pytest.approx([1, math.nan], nan_ok=True)


def test_state_is_not_part_of_a_checkpoint() -> None:
    assert not MeanAndError().state_dict()


def _rank(rank: int, folder: Path) -> None:
    metric = MeanAndError()
    for batch in VALUES[:4].split(3) if rank == 0 else [VALUES[4:]]:  # uneven on purpose
        metric.update(batch)
    assert [value.item() for value in metric.compute()] == pytest.approx(EXPECTED, abs=1e-14)


def test_exact_over_uneven_ranks(tmp_path: Path) -> None:
    run_two(_rank, tmp_path)


MODULES = {"image": image_module, "graph": graph_module, "vector": vector_module, "vae": vae_module}


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("stage", ["validation", "test"])
def test_an_evaluation_that_was_interrupted_leaves_nothing_behind(name: str, stage: str) -> None:
    """Each metric has the values of the second evaluation alone."""
    module = MODULES[name]()
    metrics = [each for each in module.children() if isinstance(each, MeanAndError)]
    start = {"validation": module.on_validation_epoch_start, "test": module.on_test_epoch_start}[stage]
    prefix = {"validation": "val_", "test": "test_"}[stage]
    own = [each for name, each in module.named_children() if name.startswith(prefix)]
    assert own
    assert {id(each) for each in own} < {id(each) for each in metrics}
    for metric in metrics:
        metric.update(VALUES)
    start()
    assert [each.values for each in own] == [[]] * len(own)
    assert all(each.values for each in metrics if not any(each is other for other in own))  # of the other stage


def test_a_second_test_of_the_same_module_is_that_of_a_new_one(tmp_path: Path) -> None:
    class Interrupt(Callback):
        def on_test_batch_end(self, *args: Any) -> None:
            raise RuntimeError("as Ctrl-C")

    data = ToyDataModule(num_test=60, batch_size=20)
    module = VectorFlowModule((2,), AutoregressiveFlow)
    expected = trainer(tmp_path).test(module, data, verbose=False)
    with pytest.raises(RuntimeError, match="as Ctrl-C"):
        trainer(tmp_path, callbacks=[Interrupt()]).test(module, data, verbose=False)
    assert trainer(tmp_path).test(module, data, verbose=False) == expected
