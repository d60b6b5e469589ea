import copy

import torch
from torch import nn

from lightning_flows.functional.recompute import Recomputation
from lightning_flows.nets import LipschitzConvNet, SpectralNorm
from lightning_flows.nets.advance import advance
from lightning_flows.transforms import Compose, ConvSylvester, Invert, ResidualBlock
from tests.transforms.cases import SHAPE


def norms(module: nn.Module) -> list[SpectralNorm]:
    return [each for each in module.modules() if isinstance(each, SpectralNorm)]


def layers() -> list[ConvSylvester | ResidualBlock]:
    kinds = [ConvSylvester(SHAPE, 6) for _ in range(3)]
    found = [*kinds, *(ResidualBlock(LipschitzConvNet(SHAPE, 6)) for _ in range(2))]
    with torch.no_grad():
        for parameter in nn.ModuleList(found).parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return [layer.double() for layer in found]


def test_equals_one_by_one():
    """Vectors equal those of layers used separately, also for layers of different shapes."""
    alone = layers()
    together = Compose(copy.deepcopy(alone)).train()
    x = torch.randn(2, *SHAPE, dtype=torch.float64)
    for _ in range(2):
        together(x)
        y = x
        for layer in alone:
            y, _ = layer.train()(y)
        for one, other in zip(norms(nn.ModuleList(alone)), norms(together), strict=True):
            torch.testing.assert_close(other.vector, one.vector, rtol=0, atol=1e-12)


def test_the_outermost_composition_advances():
    inner = Compose([ConvSylvester(SHAPE, 6), Invert(ConvSylvester(SHAPE, 6))])
    outer = Compose([inner, ConvSylvester(SHAPE, 6)]).train()
    assert not inner.adopted
    before = [norm.vector for norm in norms(outer)]
    inverted = norms(inner.transforms[1])
    with torch.no_grad():
        for parameter in outer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    outer(torch.randn(2, *SHAPE))
    for norm, vector in zip(norms(outer), before, strict=True):
        assert (norm.vector is vector) == (norm in inverted)


def test_frozen_norms_stay():
    layer = Compose([ConvSylvester(SHAPE, 6)]).train()
    frozen = layer.adopted[0].spectral_norm.eval()
    vector = frozen.vector
    advance(layer.adopted)
    assert frozen.vector is vector


def test_a_copy_advances_its_own():
    layer = Compose([ConvSylvester(SHAPE, 6)]).train()
    twin = copy.deepcopy(layer)
    before = [norm.vector for norm in norms(layer)]
    twin(torch.randn(2, *SHAPE))
    assert all(norm.vector is vector for norm, vector in zip(norms(layer), before, strict=True))
    assert set(twin.adopted) <= set(twin.modules())


def test_layers_of_a_composition_advance_their_own_outside_of_it():
    outer = Compose([Compose([ConvSylvester(SHAPE, 6)]), ConvSylvester(SHAPE, 6)]).train()
    inner, layer = outer.transforms
    twin = copy.deepcopy(layer)
    for module in (inner, layer, twin):
        before = [norm.vector for norm in norms(module)]
        module(torch.randn(2, *SHAPE))
        assert before
        assert all(norm.vector is not vector for norm, vector in zip(norms(module), before, strict=True))


def test_a_step_that_is_recomputed_outside_of_its_composition_repeats_its_own_steps():
    inner = Compose([ConvSylvester(SHAPE, 6)])
    Compose([inner])
    inner.recompute = Recomputation()
    with torch.no_grad():
        for parameter in inner.parameters():
            parameter.add_(torch.randn_like(parameter))
    x = torch.randn(2, *SHAPE, requires_grad=True)
    inner.train()(x)[1].sum().backward()  # compares both evaluations
    assert x.grad.isfinite().all()
