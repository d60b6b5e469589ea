"""The table of transforms that the contract tests run over; a new transform adds a row."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lightning_flows import testing
from lightning_flows.functional.value_maps import ValueMap
from lightning_flows.nets import (
    MADE,
    AttentionSizes,
    AutoregressiveConvNet,
    ConvNet,
    DenseNet,
    DenseSizes,
    LinearSylvesterFunction,
    LipschitzConvNet,
    PixelFunction,
    SylvesterFunction,
)
from lightning_flows.transforms import (
    ActNorm,
    Affine,
    AffineCoupling,
    Amortized,
    AutoregressiveConv,
    Bias,
    Compose,
    Conv1x1,
    ConvExponential,
    ConvSylvester,
    Flip,
    GeneralizedSylvester,
    Householder,
    InverseAutoregressive,
    Invert,
    LinearCompose,
    LinearExponential,
    LinearTransform,
    MaskedAutoregressive,
    OriginalSylvester,
    Permutation,
    Planar,
    ResidualBlock,
    Reversal,
    Squeeze,
    Standardize,
    Transform,
    VectorActNorm,
    VectorHouseholder,
    Woodbury,
    mixing_layer,
)

perturb = partial(testing.perturb, seed=None)  # conftest.py seeds the global generator

SHAPE = (4, 3, 2)  # height and width differ, so that swapped axes are detected

ONE_CHANNEL = frozenset({"basis.transforms.0.vectors"})  # a reflection of one axis is −1 for any vector
HIDDEN = (
    "input.weight",
    "input.bias",
    "hidden.weight",
    "hidden.bias",
    "heads.weight",
)  # not detectable with a single value


class Case(NamedTuple):
    """How to build a transform, the shape of its events, the channels of its context, and what is special.

    The context of vectors has no further axes: ``context_channels`` is its length.

    ``inert`` names parameters whose gradient is zero by nature; ``inverted`` a transform whose forward map is another's
    inverse (iterative, and without steps of a power iteration). ``condition`` is how much more than in others round-off
    grows in its inverse; ``rounds`` says that its net may round a value differently in the inverse under autocast.
    """

    build: Callable[[], Transform]
    event_shape: tuple[int, ...] = SHAPE
    context_channels: int = 0
    inert: frozenset[str] = frozenset()
    inverted: bool = False
    condition: float = 1.0
    rounds: bool = False


def _coupling(channels: int, *, dense: bool, context_channels: int = 0, gated: bool = True) -> AffineCoupling:
    sizes = (channels // 2, 2 * (channels - channels // 2))
    if dense:
        net = DenseNet(*sizes, DenseSizes(5, 2, 3), gated=gated, context_channels=context_channels)
        return AffineCoupling(channels, net)
    return AffineCoupling(channels, ConvNet(*sizes, hidden_channels=5, context_channels=context_channels), bound=0.7)


def _sylvester(basis: LinearTransform, hidden_channels: int = 8, *, gamma: float = 0.5) -> GeneralizedSylvester:
    return GeneralizedSylvester(basis, SylvesterFunction(AutoregressiveConvNet(SHAPE, hidden_channels), gamma=gamma))


def _pixel_sylvester(value_map: ValueMap) -> GeneralizedSylvester:
    sizes = AttentionSizes(8, 1, 2)
    function = PixelFunction((3, 2, 3), sizes, value_map=value_map, components=4, window=3)
    return GeneralizedSylvester(LinearCompose([Householder(3)]), function)


def _standardize(mean: list[float], std: list[float]) -> Standardize:
    layer = Standardize(len(mean))
    layer.set_moments(torch.tensor(mean), torch.tensor(std))
    return layer


def _active(layer: ConvSylvester) -> ConvSylvester:
    """Biases that keep the few hidden units of a narrow net from being zero for all inputs."""
    for conv in (layer.function.net.input, layer.function.net.hidden):
        torch.nn.init.ones_(conv.bias)
    return layer


CASES: dict[str, Case] = {
    "actnorm": Case(lambda: ActNorm(4)),
    "standardize": Case(lambda: _standardize([-3.0, 0.5, 0.0], [0.2, 1.0, 7.0]), (3,)),
    "vector_actnorm": Case(lambda: VectorActNorm(5), (5,)),
    "affine": Case(lambda: Affine(shift=0.3, scale=2.5)),
    "bias": Case(lambda: Bias(SHAPE)),
    "bias_channels": Case(lambda: Bias((4, 1, 1))),
    "squeeze": Case(Squeeze, (2, 4, 2)),
    "flip": Case(Flip),
    "conv1x1": Case(lambda: Conv1x1(4)),
    "householder_fewer": Case(lambda: Householder(4, num_reflections=2)),
    "householder_equal": Case(lambda: Householder(4)),
    "householder_more": Case(lambda: Householder(4, num_reflections=7)),
    "autoregressive_conv": Case(lambda: AutoregressiveConv(4)),
    "autoregressive_conv_reverse": Case(lambda: AutoregressiveConv(4, reverse=True)),
    "autoregressive_conv_wide": Case(lambda: AutoregressiveConv(2), (2, 2, 5)),
    "autoregressive_conv_one_pixel": Case(lambda: AutoregressiveConv(3), (3, 1, 1)),
    "woodbury": Case(lambda: Woodbury(SHAPE, rank=3)),
    "woodbury_high_rank": Case(lambda: Woodbury((2, 3, 2), rank=9), (2, 3, 2)),
    "mixing_conv1x1": Case(lambda: mixing_layer("conv1x1", SHAPE)),
    "mixing_emerging": Case(lambda: mixing_layer("emerging", SHAPE)),
    "mixing_woodbury": Case(lambda: mixing_layer("woodbury", SHAPE, woodbury_rank=2)),
    "mixing_conv_exponential": Case(lambda: mixing_layer("conv_exponential", SHAPE)),
    "mixing_conv_exponential_66": Case(
        lambda: mixing_layer("conv_exponential", (66, 1, 1), num_reflections=5), (66, 1, 1)
    ),
    "conv_exponential": Case(lambda: ConvExponential(SHAPE)),
    "conv_exponential_1x1": Case(lambda: ConvExponential(SHAPE, kernel_size=1)),
    "conv_exponential_5x5": Case(lambda: ConvExponential((3, 4, 3), kernel_size=5), (3, 4, 3)),
    "conv_exponential_not_small": Case(lambda: ConvExponential((2, 4, 5)), (2, 4, 5)),
    "conv_exponential_steep": Case(lambda: ConvExponential(SHAPE, max_norm=3.0)),
    "conv_exponential_one_pixel": Case(lambda: ConvExponential((4, 1, 1)), (4, 1, 1)),
    "linear_compose": Case(lambda: LinearCompose([Conv1x1(4), Flip(), ConvExponential(SHAPE), Householder(4)])),
    "linear_compose_empty": Case(lambda: LinearCompose([])),
    "compose": Case(
        lambda: Compose([Squeeze(), ActNorm(8), Conv1x1(8), _coupling(8, dense=False), Affine(0.1, 3.0)]), (2, 4, 2)
    ),
    "compose_empty": Case(lambda: Compose([])),
    "compose_context": Case(
        lambda: Compose([_coupling(4, dense=False, context_channels=2), Flip(), ConvExponential(SHAPE)]), SHAPE, 2
    ),
    "invert_conv1x1": Case(lambda: Invert(Conv1x1(4))),
    "invert_conv_exponential": Case(lambda: Invert(ConvExponential(SHAPE)), inverted=True),
    "invert_emerging": Case(lambda: Invert(mixing_layer("emerging", SHAPE))),
    "invert_coupling": Case(lambda: Invert(_coupling(4, dense=True, context_channels=3)), SHAPE, 3),
    "invert_sylvester": Case(lambda: Invert(_sylvester(Conv1x1(4))), inverted=True),
    "coupling_conv": Case(lambda: _coupling(4, dense=False)),
    "coupling_dense": Case(lambda: _coupling(4, dense=True)),
    "coupling_dense_nogate": Case(lambda: _coupling(4, dense=True, gated=False)),
    "coupling_odd": Case(lambda: _coupling(5, dense=False), (5, 2, 3)),
    "coupling_odd_dense": Case(lambda: _coupling(3, dense=True), (3, 2, 3)),
    "coupling_context": Case(lambda: _coupling(4, dense=False, context_channels=3), SHAPE, 3),
    "coupling_dense_context": Case(lambda: _coupling(5, dense=True, context_channels=2), (5, 3, 2), 2),
    "sylvester_identity": Case(lambda: _sylvester(LinearCompose([]))),
    "sylvester_conv1x1": Case(lambda: _sylvester(Conv1x1(4))),
    "sylvester_householder": Case(lambda: _sylvester(Householder(4), gamma=0.9)),
    "sylvester_conv_exponential": Case(lambda: _sylvester(ConvExponential(SHAPE))),
    "sylvester_flip": Case(lambda: _sylvester(Flip(), 6)),
    "sylvester_no_autoregressive": Case(
        lambda: GeneralizedSylvester(
            LinearCompose([Householder(4), ConvExponential(SHAPE)]), LinearSylvesterFunction(SHAPE)
        )
    ),
    "sylvester_pixels": Case(lambda: _pixel_sylvester("mixture"), (3, 2, 3), rounds=True),
    # the condition number of its Jacobian is 2e5
    "sylvester_pixels_spline": Case(lambda: _pixel_sylvester("spline"), (3, 2, 3), rounds=True, condition=10),
    "sylvester_pixels_affine": Case(lambda: _pixel_sylvester("affine"), (3, 2, 3), rounds=True),
    "residual": Case(lambda: ResidualBlock(LipschitzConvNet((2, 2, 2), 4)), (2, 2, 2)),
    "residual_one_pixel": Case(lambda: ResidualBlock(LipschitzConvNet((3, 1, 1), 4)), (3, 1, 1)),
    "invert_residual": Case(lambda: Invert(ResidualBlock(LipschitzConvNet((2, 1, 2), 4))), (2, 1, 2), inverted=True),
    "conv_sylvester": Case(lambda: ConvSylvester(SHAPE, 8)),
    "conv_sylvester_free": Case(lambda: ConvSylvester(SHAPE, 8, net_max_norm=None)),
    "conv_sylvester_width_7": Case(lambda: ConvSylvester(SHAPE, 7)),
    "conv_sylvester_width_2": Case(lambda: _active(ConvSylvester(SHAPE, 2))),
    "conv_sylvester_width_1": Case(lambda: _active(ConvSylvester(SHAPE, 1))),
    "conv_sylvester_one_channel": Case(lambda: ConvSylvester((1, 3, 4), 4), (1, 3, 4), inert=ONE_CHANNEL),
    "conv_sylvester_one_pixel": Case(lambda: ConvSylvester((4, 1, 1), 8), (4, 1, 1)),
    "conv_sylvester_one_value": Case(
        lambda: ConvSylvester((1, 1, 1), 4), (1, 1, 1), inert=ONE_CHANNEL | {f"function.net.{n}" for n in HIDDEN}
    ),
}


class Neighbors(nn.Module):
    """M v = a v + b (v₂, …, v_D, v₁) for |a| + |b| ≤ 1."""

    norm_bound = 1.0

    def __init__(self) -> None:
        super().__init__()
        self.raw = nn.Parameter(torch.tensor([0.3, -0.4]))

    def coefficients(self) -> Tensor:
        return torch.tanh(self.raw) / 2

    def forward(self, v: Tensor) -> Tensor:
        a, b = self.coefficients()
        return a * v + b * v.roll(1, 1)

    def trace(self) -> Tensor:
        return 5 * self.coefficients()[0]


def _vector_sylvester(net: nn.Module, *basis: LinearTransform) -> GeneralizedSylvester:
    return GeneralizedSylvester(LinearCompose(basis), SylvesterFunction(net))


CASES |= {
    "vector_exponential": Case(lambda: LinearExponential(5), (5,)),
    "vector_exponential_series": Case(lambda: LinearExponential(5, linear=Neighbors()), (5,)),
    "vector_exponential_one_value": Case(lambda: LinearExponential(1), (1,)),
    "vector_householder": Case(lambda: VectorHouseholder(4, num_reflections=3), (4,)),
    "vector_householder_amortized": Case(lambda: VectorHouseholder(4, num_reflections=3, amortized=True), (4,), 12),
    "vector_permutation": Case(lambda: Permutation([2, 0, 1]), (3,)),
    "vector_reversal": Case(lambda: Reversal(4), (4,)),
    "vector_autoregressive": Case(lambda: MaskedAutoregressive(4, 6, reverse=True), (4,)),
    "vector_autoregressive_mixture": Case(
        lambda: MaskedAutoregressive(3, 5, value_map="mixture", components=2, context=True), (3,), 5
    ),
    "vector_autoregressive_spline": Case(lambda: MaskedAutoregressive(3, 5, value_map="spline", components=3), (3,)),
    "vector_autoregressive_inverse": Case(lambda: InverseAutoregressive(4, 6, context=True), (4,), 6),
    "vector_planar": Case(lambda: Planar(3), (3,)),
    "vector_planar_amortized": Case(lambda: Planar(3, amortized=True), (3,), 7),
    "vector_sylvester_orthogonal": Case(lambda: OriginalSylvester(4, columns=2), (4,)),
    "vector_sylvester_orthogonal_amortized": Case(
        lambda: OriginalSylvester(4, columns=3, amortized=True), (4,), 9 + 9 + 12
    ),
    "vector_sylvester_householder": Case(lambda: OriginalSylvester(4, basis="householder", num_reflections=2), (4,)),
    "vector_sylvester_householder_amortized": Case(
        lambda: OriginalSylvester(3, basis="householder", num_reflections=2, amortized=True), (3,), 9 + 9 + 6
    ),
    "vector_sylvester_triangular": Case(lambda: OriginalSylvester(3, basis="triangular", reverse=True), (3,)),
    "vector_sylvester_triangular_amortized": Case(
        lambda: OriginalSylvester(3, basis="triangular", amortized=True), (3,), 9 + 9
    ),
    "vector_amortized": Case(
        lambda: Amortized(
            [Planar(3, amortized=True), Reversal(3), VectorHouseholder(3, num_reflections=2, amortized=True)], 4
        ),
        (3,),
        4,
    ),
    "vector_amortized_shared": Case(
        lambda: Amortized([InverseAutoregressive(3, 5, context=True), Planar(3, amortized=True)], 4, shared=5), (3,), 4
    ),
    "vector_sylvester_generalized": Case(
        lambda: _vector_sylvester(MADE(4, 7, num_outputs=4), VectorHouseholder(4), LinearExponential(4)), (4,)
    ),
    "vector_sylvester_context": Case(
        lambda: _vector_sylvester(
            MADE(4, 7, num_outputs=4, context=True),
            VectorHouseholder(4, num_reflections=2, amortized=True),
            LinearExponential(4),
        ),
        (4,),
        7 + 8,
    ),
}


def draw(case: Case, batch: int = 3, *, seed: int = 1, dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
    """Data and, where the case takes one, a context: arguments for forward and inverse."""
    generator = torch.Generator().manual_seed(seed)
    channels, *size = case.event_shape
    sizes = [(batch, channels, *size)] + [(batch, case.context_channels, *size)] * (case.context_channels > 0)
    return tuple(torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in sizes)


def build(case: Case, *, seed: int = 2, dtype: torch.dtype = torch.float64) -> Transform:
    """Build the case in eval mode with perturbed parameters."""
    torch.manual_seed(seed)
    transform = case.build().to(dtype)
    return perturb(transform, *draw(case, seed=seed + 100, dtype=dtype))
