import pytest

from lightning_flows.errors import ShapeError
from lightning_flows.flows import GlowFlow
from lightning_flows.nets import DenseSizes
from lightning_flows.transforms import Affine, AffineCoupling, Conv1x1, Squeeze
from tests.flows.cases import kinds


def test_layers() -> None:
    flow = GlowFlow((3, 32, 32), mixing="conv1x1", steps_per_level=2, net=DenseSizes(4, 1, 2))
    step = [AffineCoupling, Conv1x1]
    assert kinds(flow.levels) == [[Affine, Squeeze, Conv1x1, step, step, AffineCoupling], [Squeeze, step, step]]
    assert flow.latent_shapes == [(6, 16, 16), (24, 8, 8)]


def test_wrong_arguments() -> None:
    with pytest.raises(ShapeError, match=r"multiples of 4 for 2 levels; got \(3, 6, 6\)"):
        GlowFlow((3, 6, 6))
    with pytest.raises(ValueError, match="expected steps_per_level of at least 1; got 0"):
        GlowFlow((3, 8, 8), steps_per_level=0)
