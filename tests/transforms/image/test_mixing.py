import pytest
import torch

from lightning_flows.transforms import Conv1x1, ConvExponential, Householder, mixing_layer
from lightning_flows.transforms.image.mixing import MIXINGS
from tests.dense import matrix_of
from tests.transforms.cases import perturb

SHAPE = (3, 4, 4)


@pytest.mark.parametrize("kind", MIXINGS)
@torch.no_grad()
def test_each_kind_mixes_the_expected_pixels(kind):
    """1x1 mixes none, Woodbury all, emerging only neighbors, and the exponential pixels at any distance."""
    layer = perturb(mixing_layer(kind, SHAPE).double(), torch.randn(4, *SHAPE, dtype=torch.float64))
    zero = layer(torch.zeros(1, *SHAPE, dtype=torch.float64))[0]
    matrix = matrix_of(lambda x: layer(x)[0] - zero, SHAPE).reshape(3, 16, 3, 16).abs().amax((0, 2))
    reached = (matrix > 0).sum(0)
    expected = {"conv1x1": 1, "emerging": 9, "woodbury": 16, "conv_exponential": 16}[kind]
    assert reached[5] == expected  # a pixel in the middle; two causal 2x2 kernels of opposite direction reach 3x3


def test_wide_layers_have_reflections():
    kinds = {
        channels: type(mixing_layer("conv_exponential", (channels, 1, 1)).transforms[1]) for channels in (4, 64, 65)
    }
    assert kinds == {4: Conv1x1, 64: Conv1x1, 65: Householder}
    assert mixing_layer("conv_exponential", (66, 1, 1)).transforms[1].vectors.shape == (64, 66)


def test_options_reach_the_layer():
    exponential = mixing_layer("conv_exponential", SHAPE, exponential_max_norm=0.5).transforms[2]
    assert isinstance(exponential, ConvExponential)
    assert exponential.max_norm == 0.5
    assert mixing_layer("woodbury", SHAPE, woodbury_rank=5).transforms[1].left.shape == (16, 5)


def test_unknown_kind():
    with pytest.raises(ValueError, match=r"conv1x1, emerging, woodbury, conv_exponential; got glow"):
        mixing_layer("glow", SHAPE)
