"""Every mutation is found, with a message that names the fault, and the correct transform passes."""

import re

import pytest
import torch

from lightning_flows.testing import CheckError, check_transform
from tests.testing.mutants import Correct, Linear
from tests.testing.mutations import MUTATIONS, Mutation


def data() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(6, 2, 2, 3, generator=generator)
    x[:, 0, 0, 0] = torch.tensor([2.0, -1, 0, 0.5, -2, 3])
    return x, torch.randn(6, 2, 2, 3, generator=generator)


@pytest.mark.parametrize("build", [Correct, Linear])
def test_correct_transforms_pass(build: type[Correct]) -> None:
    x, z = data()
    assert len(check_transform(build(), x, z=z, build=build, compile=True)) == 22


def test_there_are_enough_mutations() -> None:
    assert len(MUTATIONS) >= 40


@pytest.mark.parametrize("mutation", MUTATIONS.values(), ids=MUTATIONS.keys())
def test_every_mutation_is_found(mutation: Mutation) -> None:
    x, z = data()
    with pytest.raises(CheckError) as found:
        check_transform(mutation.build(), x, z=z, build=mutation.build, compile=mutation.check == "compile")
    messages = {fault.check: fault.message for fault in found.value.faults}
    assert mutation.check in messages, found.value
    assert re.search(mutation.message, messages[mutation.check]), messages[mutation.check]
