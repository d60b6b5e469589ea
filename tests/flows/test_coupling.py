import pytest

from lightning_flows.flows import CouplingFlow
from lightning_flows.transforms import ActNorm, AffineCoupling, Conv1x1
from tests.flows.cases import SPLITS, kinds


def test_steps_are_an_actnorm_a_1x1_convolution_and_a_coupling() -> None:
    flow = CouplingFlow((3, 16, 16), **SPLITS | {"num_levels": 3})
    assert kinds(flow.levels)[1][1] == [ActNorm, Conv1x1, AffineCoupling]
    assert flow.latent_shapes == [(6, 8, 8), (12, 4, 4), (48, 2, 2)]


def test_log_scales_are_half_a_tanh() -> None:
    flow = CouplingFlow((1, 4, 4), **SPLITS)
    couplings = [m for m in flow.modules() if isinstance(m, AffineCoupling)]
    assert [(m.bound, m.slope) for m in couplings] == [(0.5, 1.0), (2.0, 0.5), (0.5, 1.0)]  # the second splits


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="expected hidden_channels of at least 1; got 0"):
        CouplingFlow((3, 8, 8), hidden_channels=0)
