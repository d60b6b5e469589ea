import pytest
import torch

from lightning_flows.errors import ShapeError
from lightning_flows.transforms import Woodbury
from tests.dense import matrix_of

SHAPE = (2, 3, 4)


@torch.no_grad()
def test_one_matrix_over_the_positions_of_each_channel():
    layer = Woodbury(SHAPE, rank=3).double()
    for parameter in layer.parameters():
        parameter.normal_()
    positions = torch.eye(12, dtype=torch.float64) + layer.left @ layer.right
    expected = torch.block_diag(positions, positions)
    torch.testing.assert_close(matrix_of(lambda x: layer(x)[0], SHAPE), expected, rtol=0, atol=1e-12)
    inverse = matrix_of(lambda z: layer.inverse(z)[0], SHAPE)
    torch.testing.assert_close(inverse, expected.inverse(), rtol=1e-9, atol=1e-9)


@torch.no_grad()
def test_layout_is_kept():
    layer = Woodbury(SHAPE)
    x = torch.randn(5, *SHAPE).to(memory_format=torch.channels_last)
    assert layer(x)[0].is_contiguous(memory_format=torch.channels_last)


def test_wrong_arguments():
    with pytest.raises(ShapeError, match=r"expected events \(C, H, W\); got \(4, 4\)"):
        Woodbury((4, 4))
    with pytest.raises(ValueError, match="rank of at least 1; got 0"):
        Woodbury(SHAPE, rank=0)
    with pytest.raises(ShapeError, match=r"expected shape \(B, 2, 3, 4\); got \(1, 2, 4, 3\)"):
        Woodbury(SHAPE)(torch.zeros(1, 2, 4, 3))
