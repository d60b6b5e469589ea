"""Flows on events of one or two values, where their densities can be integrated."""

from collections.abc import Callable

import torch
from torch import nn

from lightning_flows.distributions import DiagonalGaussian
from lightning_flows.flows import Flow, MultiScaleFlow, SplitPrior
from lightning_flows.nets import ConvNet, DenseNet
from lightning_flows.transforms import (
    ActNorm,
    AffineCoupling,
    Bias,
    Compose,
    Conv1x1,
    ConvExponential,
    ConvSylvester,
    Flip,
    Householder,
    Transform,
)
from tests.transforms.cases import perturb

CHANNELS, ROW = (2, 1, 1), (1, 1, 2)  # two values as two channels, and as two pixels


def conv_coupling() -> AffineCoupling:
    return AffineCoupling(2, ConvNet(1, 2, hidden_channels=6), bound=0.5, slope=1.0)


def dense_coupling() -> AffineCoupling:
    return AffineCoupling(2, DenseNet(1, 2, width=6, depth=2, growth=4))


def steps(shape: tuple[int, int, int], num: int) -> list[Transform]:
    return [step for _ in range(num) for step in (ActNorm(shape[0]), ConvSylvester(shape, 8), Flip())]


def flow(shape: tuple[int, int, int], *transforms: Transform) -> Flow:
    return Flow(Compose(transforms), DiagonalGaussian(shape))


def multiscale() -> MultiScaleFlow:
    levels = [Compose([Conv1x1(2), *steps(CHANNELS, 1)]), Compose([ActNorm(1), ConvSylvester((1, 1, 1), 4)])]
    return MultiScaleFlow(levels, [SplitPrior(dense_coupling())], CHANNELS)


FLOWS: dict[str, tuple[Callable[[], nn.Module], tuple[int, int, int]]] = {
    "gaussian": (lambda: flow(CHANNELS), CHANNELS),
    "one_value": (lambda: flow((1, 1, 1), *steps((1, 1, 1), 2)), (1, 1, 1)),
    "linear": (lambda: flow(CHANNELS, Bias(CHANNELS), Conv1x1(2), ConvExponential(CHANNELS)), CHANNELS),
    "exponential": (lambda: flow(ROW, ActNorm(1), ConvExponential(ROW), Bias(ROW)), ROW),
    "coupling": (lambda: flow(CHANNELS, conv_coupling(), Conv1x1(2), conv_coupling(), Householder(2)), CHANNELS),
    "dense_coupling": (lambda: flow(CHANNELS, ActNorm(2), dense_coupling(), Conv1x1(2), dense_coupling()), CHANNELS),
    "sylvester": (lambda: flow(CHANNELS, *steps(CHANNELS, 2)), CHANNELS),
    "sylvester_pixels": (lambda: flow(ROW, *steps(ROW, 2)), ROW),
    "multiscale": (multiscale, CHANNELS),
}


def build(name: str, *, noise: float = 0.3) -> nn.Module:
    """A flow in float64 and eval mode, with parameters away from their start."""
    torch.manual_seed(3)
    make, shape = FLOWS[name]
    return perturb(make().double(), torch.randn(64, *shape, dtype=torch.float64), noise=noise)
