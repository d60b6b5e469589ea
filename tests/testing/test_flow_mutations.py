"""Every faulty flow is found, with a message that names the fault, and the correct one passes."""

import re

import pytest
import torch

from lightning_flows.testing import CheckError, check_flow
from tests.testing.flow_mutants import FLOW_MUTATIONS, Correct, FlowMutation


def data(size: int) -> torch.Tensor:
    return torch.randn(6, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("size", [1, 2, 5])
def test_correct_flows_pass(size: int) -> None:
    names = check_flow(Correct(size), data(size), build=lambda: Correct(size), compile=True)
    assert ("normalization" in names) == (size <= 2)
    assert {"log_prob", "decode", "samples", "sample_log_prob", "temperature", "generator", "compile"} <= set(names)


@pytest.mark.parametrize("mutation", FLOW_MUTATIONS.values(), ids=FLOW_MUTATIONS.keys())
def test_every_mutation_is_found(mutation: FlowMutation) -> None:
    size = len(mutation.build().shift)
    with pytest.raises(CheckError) as found:
        check_flow(mutation.build(), data(size), build=mutation.build)
    messages = {fault.check: fault.message for fault in found.value.faults}
    assert mutation.check in messages, found.value
    assert re.search(mutation.message, messages[mutation.check]), messages[mutation.check]
