"""The tables of flows that the tests run over; a new family adds a row to FAMILIES."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lightning_flows.distributions import DiagonalGaussian
from lightning_flows.flows import (
    AutoregressiveFlow,
    ConvSylvesterFlow,
    CouplingFlow,
    Flow,
    GlowFlow,
    GraphCouplingFlow,
    GraphNormalizingFlow,
    PixelAutoregressiveFlow,
    ResidualFlow,
    SetAutoregressiveFlow,
    SylvesterVectorFlow,
)
from lightning_flows.nets import AttentionSizes, ConvNet, DenseNet, DenseSizes
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
from lightning_flows.transforms.image.mixing import MIXINGS
from tests.transforms.cases import perturb

Shape = tuple[int, ...]
CHANNELS, ROW = (2, 1, 1), (1, 1, 2)  # two values as two channels, and as two pixels
IMAGE, COLOR, GRAPH, VECTOR, NUMBERS = (1, 4, 4), (3, 4, 4), (3, 2), (4, 2, 2), (3,)
LEVELS = {"num_levels": 2, "steps_per_level": 1}
SPLITS = LEVELS | {"hidden_channels": 6, "split": DenseSizes(4, 1, 3)}
DENSE = LEVELS | {"net": DenseSizes(4, 1, 2)}
NODES = {"num_steps": 1, "net": AttentionSizes(8, 1, 2)}
PIXELS = {"sizes": AttentionSizes(8, 1, 2), "window": 3}


class Family(NamedTuple):
    """How to build a flow, the shape of its events, and what is special.

    ``scale`` is that of its data; ``differentiates`` one that takes derivatives in its forward, which torch.export does
    not trace.
    """

    build: Callable[[], Flow]
    event_shape: Shape = IMAGE
    scale: float = 256.0
    differentiates: bool = False


def conv_coupling(channels: int = 2, context_channels: int = 0) -> AffineCoupling:
    net = ConvNet(channels // 2, channels, hidden_channels=6, context_channels=context_channels)
    return AffineCoupling(channels, net, bound=0.5, slope=1.0)


def dense_coupling(channels: int = 2, context_channels: int = 0) -> AffineCoupling:
    net = DenseNet(channels // 2, channels, DenseSizes(6, 2, 4), context_channels=context_channels)
    return AffineCoupling(channels, net)


def single_level(context_channels: int = 0) -> Flow:
    couplings = conv_coupling(4, context_channels), dense_coupling(4, context_channels)
    layers = [ActNorm(4), Conv1x1(4), couplings[0], Conv1x1(4), couplings[1]]
    return Flow(Compose(layers), DiagonalGaussian(VECTOR))


FAMILIES: dict[str, Family] = {
    "sylvester": Family(lambda: ConvSylvesterFlow(IMAGE, **SPLITS)),
    "no_autoregressive": Family(lambda: ConvSylvesterFlow(IMAGE, ablation="no_autoregressive", **SPLITS)),
    "no_basis": Family(lambda: ConvSylvesterFlow(IMAGE, ablation="no_basis", **SPLITS)),
    "coupling": Family(lambda: CouplingFlow(IMAGE, **SPLITS)),
    "residual": Family(lambda: ResidualFlow(IMAGE, **SPLITS), differentiates=True),
    **{f"glow_{mixing}": Family(lambda mixing=mixing: GlowFlow(IMAGE, mixing=mixing, **DENSE)) for mixing in MIXINGS},
    "single_level": Family(single_level, VECTOR, 1.0),
    "graph_coupling": Family(lambda: GraphCouplingFlow(GRAPH, num_steps=1, width=8, depth=1), GRAPH, 1.0),
    "gnf": Family(lambda: GraphNormalizingFlow(GRAPH, exponential=False, **NODES), GRAPH, 1.0),
    "gnf_exponential": Family(
        lambda: GraphNormalizingFlow(GRAPH, node_map="mixture", components=2, **NODES), GRAPH, 1.0
    ),
    "autoregressive": Family(lambda: AutoregressiveFlow(NUMBERS, num_layers=2, width=8, components=2), NUMBERS, 1.0),
    "autoregressive_affine": Family(
        lambda: AutoregressiveFlow(NUMBERS, num_layers=2, width=8, value_map="affine"), NUMBERS, 1.0
    ),
    "sylvester_vector": Family(lambda: SylvesterVectorFlow(NUMBERS, num_layers=2, width=8), NUMBERS, 1.0),
    "pixels": Family(lambda: PixelAutoregressiveFlow(COLOR, num_layers=2, components=4, **PIXELS), COLOR),
    "pixels_affine": Family(lambda: PixelAutoregressiveFlow(IMAGE, value_map="affine", **PIXELS)),
    "patches": Family(lambda: PixelAutoregressiveFlow(IMAGE, patch=2, head_width=8, components=2, **PIXELS)),
    "set": Family(lambda: SetAutoregressiveFlow(GRAPH, components=2, **NODES), GRAPH, 1.0),
}


def family(name: str, dtype: torch.dtype = torch.float64, batch: int = 4) -> tuple[Flow, Tensor]:
    """A flow in eval mode with perturbed parameters, and data."""
    torch.manual_seed(2)
    build, shape, scale, _ = FAMILIES[name]
    x = scale * (torch.rand if scale > 1 else torch.randn)(batch, *shape, dtype=dtype)
    return perturb(build().to(dtype), x, noise=0.05), x


def kinds(layers: Iterable[nn.Module]) -> list[Any]:
    """The classes of layers, in lists where they are composed."""
    return [kinds(layer.transforms) if isinstance(layer, Compose) else type(layer) for layer in layers]


def steps(shape: tuple[int, int, int], num: int) -> list[Transform]:
    return [step for _ in range(num) for step in (ActNorm(shape[0]), ConvSylvester(shape, 8), Flip())]


def flow(shape: Shape, *transforms: Transform) -> Flow:
    return Flow(Compose(transforms), DiagonalGaussian(shape))


def multiscale() -> Flow:
    first = Compose([Conv1x1(2), *steps(CHANNELS, 1), dense_coupling()])
    return Flow([first, Compose([ActNorm(1), ConvSylvester((1, 1, 1), 4)])], event_shape=CHANNELS)


DENSITIES: dict[str, tuple[Callable[[], Flow], Shape]] = {
    "gaussian": (lambda: flow(CHANNELS), CHANNELS),
    "one_value": (lambda: flow((1, 1, 1), *steps((1, 1, 1), 2)), (1, 1, 1)),
    "linear": (lambda: flow(CHANNELS, Bias(CHANNELS), Conv1x1(2), ConvExponential(CHANNELS)), CHANNELS),
    "exponential": (lambda: flow(ROW, ActNorm(1), ConvExponential(ROW), Bias(ROW)), ROW),
    "coupling": (lambda: flow(CHANNELS, conv_coupling(), Conv1x1(2), conv_coupling(), Householder(2)), CHANNELS),
    "dense_coupling": (lambda: flow(CHANNELS, ActNorm(2), dense_coupling(), Conv1x1(2), dense_coupling()), CHANNELS),
    "sylvester": (lambda: flow(CHANNELS, *steps(CHANNELS, 2)), CHANNELS),
    "sylvester_pixels": (lambda: flow(ROW, *steps(ROW, 2)), ROW),
    "multiscale": (multiscale, CHANNELS),
    "autoregressive": (lambda: AutoregressiveFlow((2,), num_layers=2, width=8, components=3), (2,)),
    "autoregressive_spline": (lambda: AutoregressiveFlow((2,), width=8, value_map="spline"), (2,)),
    "autoregressive_affine": (lambda: AutoregressiveFlow((2,), width=8, value_map="affine"), (2,)),
    "pixels": (lambda: PixelAutoregressiveFlow(ROW, components=2, **PIXELS), ROW),
    "sylvester_vector": (lambda: SylvesterVectorFlow((2,), num_layers=3, width=8), (2,)),
    "sylvester_one_value": (lambda: SylvesterVectorFlow((1,), num_layers=2, width=4), (1,)),
}
"""Flows on events of one or two values, whose densities can be integrated."""


def density(name: str, *, noise: float = 0.3) -> Flow:
    """A flow in float64 and eval mode with perturbed parameters."""
    torch.manual_seed(3)
    make, shape = DENSITIES[name]
    return perturb(make().double(), torch.randn(64, *shape, dtype=torch.float64), noise=noise)
