"""Each invalid call raises an error that states what was expected and what was received."""

import pytest
import torch
from torch import nn

from lightning_flows.distributions import DiagonalGaussian
from lightning_flows.errors import ShapeError, UsageError
from lightning_flows.nets import AutoregressiveConvNet, ConvNet, DenseNet, LipschitzConvNet, SylvesterFunction
from lightning_flows.transforms import (
    ActNorm,
    Affine,
    AffineCoupling,
    AutoregressiveConv,
    Bias,
    Conv1x1,
    ConvExponential,
    ConvSylvester,
    Flip,
    GeneralizedSylvester,
    GraphActNorm,
    GraphExponential,
    Householder,
    Invert,
    LinearCompose,
    LinearExponential,
    Squeeze,
    Standardize,
    Transform,
    VectorActNorm,
    Woodbury,
)
from tests.transforms.cases import CASES, SHAPE, build, draw


@pytest.mark.parametrize("name", [name for name in CASES if name != "compose_empty"])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_integers_are_refused(name, dtype):
    transform, (x, *context) = build(CASES[name]), draw(CASES[name])
    z = torch.zeros(len(x), *transform.output_shape(CASES[name].event_shape))
    for function, value in ((transform.forward, x), (transform.inverse, z)):
        with pytest.raises(TypeError, match=f"expected a floating tensor; got {dtype}"):
            function(value.to(dtype), *context)


CHANNELS = {
    "actnorm": lambda: ActNorm(4),
    "conv1x1": lambda: Conv1x1(4),
    "householder": lambda: Householder(4),
    "conv_exponential": lambda: ConvExponential(SHAPE),
    "coupling": lambda: AffineCoupling(4, ConvNet(2, 4, hidden_channels=3)),
    "sylvester": lambda: ConvSylvester(SHAPE, 4),
    "linear_compose": lambda: LinearCompose([Flip(), Conv1x1(4)]),
}


@pytest.mark.parametrize("make", CHANNELS.values(), ids=CHANNELS.keys())
@pytest.mark.parametrize("shape", [(2, 3, 3, 2), (2, 4, 3), (4, 3, 2), (2, 4, 3, 2, 1)])
def test_other_channels_are_refused(make, shape):
    transform = make()
    for function in (transform.forward, transform.inverse):
        with pytest.raises(ShapeError, match=r"expected shape \(B, 4, (H, W|3, 2)\); got \(" + f"{shape[0]}, "):
            function(torch.zeros(shape))


class Unsummed(Transform):
    """Its log-determinant is that of each value."""

    def forward(self, x, context=None):
        return 2 * x, torch.full_like(x, 2.0).log()

    def inverse(self, z, context=None):
        return z / 2, torch.full_like(z, 0.5).log()


WRONG = {
    "bias": (
        ShapeError,
        lambda: Bias(SHAPE)(torch.zeros(2, 4, 2, 3)),
        r"expected shape \(B, 4, 3, 2\); got \(2, 4, 2, 3\)",
    ),
    "squeeze_odd": (ShapeError, lambda: Squeeze()(torch.zeros(2, 3, 5, 4)), r"even height and width; got \(3, 5, 4\)"),
    "squeeze_flat": (ShapeError, lambda: Squeeze()(torch.zeros(2, 4)), r"expected shape \(B, C, H, W\); got \(2, 4\)"),
    "unsqueeze": (ShapeError, lambda: Squeeze().inverse(torch.zeros(2, 6, 2, 2)), r"\(B, 4C, H, W\); got \(2, 6"),
    "flip": (ShapeError, lambda: Flip()(torch.zeros(2, 4, 3)), r"expected shape \(B, C, H, W\); got \(2, 4, 3\)"),
    "scale": (ValueError, lambda: Affine(0, -1.0), "expected a positive, finite scale; got -1"),
    "reflections": (
        ValueError,
        lambda: Householder(4, num_reflections=0),
        "num_reflections of at least 1; got 0",
    ),
    "even_kernel": (ValueError, lambda: ConvExponential(SHAPE, kernel_size=2), "expected an odd kernel size; got 2"),
    "event": (ShapeError, lambda: ConvExponential((4, 3)), r"expected events \(C, H, W\); got \(4, 3\)"),
    "max_norm": (ValueError, lambda: ConvExponential(SHAPE, max_norm=0.0), "positive, finite max_norm; got 0.0"),
    "one_channel": (ValueError, lambda: AffineCoupling(1, nn.Identity()), "at least 2 channels to couple; got 1"),
    "net": (
        ShapeError,
        lambda: AffineCoupling(5, ConvNet(2, 2, hidden_channels=3))(torch.zeros(2, 5, 3, 2)),
        r"expected a net with outputs of shape \(B, \*\(6, 3, 2\)\); got \(2, 2, 3, 2\)",
    ),
    "pooled": (
        ShapeError,
        lambda: AffineCoupling(2, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(1, 2, 1)))(torch.zeros(2, 2, 3, 2)),
        r"outputs of shape \(B, \*\(2, 3, 2\)\); got \(2, 2, 1, 1\)",
    ),
    "log_det": (
        ShapeError,
        lambda: Unsummed((3,))(torch.zeros(2, 3)),
        r"expected a log-determinant of shape \(2,\) from Unsummed; got \(2, 3\): sum it over the event",
    ),
    "linear": (TypeError, lambda: LinearCompose([ActNorm(4)]), "expected linear transforms; got ActNorm"),
    "basis": (
        TypeError,
        lambda: GeneralizedSylvester(ActNorm(4), nn.Identity()),
        "expected a LinearTransform as basis; got ActNorm",
    ),
    "gamma": (ValueError, lambda: SylvesterFunction(nn.Identity(), gamma=1.0), "gamma between 0 and 1; got 1.0"),
    "hidden": (UsageError, lambda: ConvSylvester(SHAPE, 0), "expected hidden_channels of at least 1; got 0"),
    "invert": (ValueError, lambda: Invert(Squeeze()).output_shape((1, 2, 2)), "preserves the shape; got Squeeze"),
}


SIZES = {
    "actnorm": lambda n: ActNorm(n),
    "conv1x1": lambda n: Conv1x1(n),
    "householder": lambda n: Householder(n),
    "reflections": lambda n: Householder(4, num_reflections=n),
    "autoregressive_conv": lambda n: AutoregressiveConv(n),
    "woodbury": lambda n: Woodbury((4, n, 2)),
    "rank": lambda n: Woodbury(SHAPE, rank=n),
    "conv_exponential": lambda n: ConvExponential((n, 3, 2)),
    "kernel": lambda n: ConvExponential(SHAPE, kernel_size=n),
    "terms": lambda n: ConvExponential(SHAPE, num_terms=n),
    "sylvester": lambda n: ConvSylvester((n, 3, 2), 4),
    "iterations": lambda n: ConvSylvester(SHAPE, 4, max_iter=n),
    "bias": lambda n: Bias((n, 1, 1)),
    "graph_actnorm": lambda n: GraphActNorm(n),
    "graph_exponential": lambda n: GraphExponential(n, max_neighbors=2),
    "vector_actnorm": lambda n: VectorActNorm(n),
    "standardize": lambda n: Standardize(n),
    "conv_net": lambda n: ConvNet(n, 2, hidden_channels=3),
    "dense_net": lambda n: DenseNet(2, n),
    "lipschitz_net": lambda n: LipschitzConvNet(SHAPE, n),
    "causal_net": lambda n: AutoregressiveConvNet(SHAPE, 4, num_heads=n),
    "gaussian": lambda n: DiagonalGaussian((n, 2)),
}


@pytest.mark.parametrize("make", SIZES.values(), ids=SIZES.keys())
@pytest.mark.parametrize("size", [0, -1, 2.5])
def test_sizes_are_positive_integers(make, size):
    with pytest.raises((ShapeError, UsageError), match=f"expected .*; got .*{size}"):
        make(size)


NORMS = {
    "exponential": lambda norm: ConvExponential(SHAPE, max_norm=norm),
    "sylvester": lambda norm: ConvSylvester(SHAPE, 4, net_max_norm=norm),
    "linear_exponential": lambda norm: LinearExponential(4, max_norm=norm),
    "scale": lambda norm: Affine(0.0, norm),
}


@pytest.mark.parametrize("make", NORMS.values(), ids=NORMS.keys())
@pytest.mark.parametrize("norm", [float("nan"), float("inf"), -1.0])
def test_norms_and_scales_are_positive_and_finite(make, norm):
    with pytest.raises(UsageError, match=f"got {norm}"):
        make(norm)


@pytest.mark.parametrize(("error", "make", "message"), WRONG.values(), ids=WRONG.keys())
def test_wrong_arguments(error, make, message):
    with pytest.raises(error, match=message):
        make()
