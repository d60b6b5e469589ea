"""A flow of each kind is a density, and its samples follow it."""

import pytest
import torch

from lightning_flows.testing import check_flow
from tests.flows.cases import DENSITIES, density


@pytest.mark.parametrize("name", DENSITIES)
def test_check_flow(name: str) -> None:
    flow, x = density(name), torch.randn(5, *DENSITIES[name][1], dtype=torch.float64)
    names = check_flow(flow, x, mass_tolerance=1e-4)
    assert {"log_prob", "normalization", "samples", "sample_log_prob", "temperature", "generator"} <= set(names)
