"""Layers of normflows, nflows, zuko and FrEIA, for other_libraries.py."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

VECTOR, IMAGE = (4,), (4, 2, 6)


class Layer(NamedTuple):
    """How to build a layer, the shape of its events, and its data: normal, or uniform in the interval.

    ``constrained`` names parameters that must keep a property, such as orthogonality, so that noise would be unfair.
    """

    name: str
    build: Callable[[], Any]
    shape: tuple[int, ...] = VECTOR
    interval: tuple[float, float] | None = None
    constrained: tuple[str, ...] = ()

    def data(self, batch: int = 5) -> Tensor:
        generator = torch.Generator().manual_seed(1)
        if self.interval is None:
            return torch.randn(batch, *self.shape, generator=generator, dtype=torch.float64)
        low, high = self.interval
        return low + (high - low) * torch.rand(batch, *self.shape, generator=generator, dtype=torch.float64)


def net(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, 8), nn.Tanh(), nn.Linear(8, outputs))


def conv(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inputs, 8, 3, padding=1), nn.Tanh(), nn.Conv2d(8, outputs, 1))


def normflows_layers() -> Iterator[Layer]:
    import normflows as nf

    flows = nf.flows
    yield Layer("AffineConstFlow", lambda: flows.AffineConstFlow(VECTOR))
    yield Layer("AffineConstFlow, per channel", lambda: flows.AffineConstFlow((4, 1, 1)), IMAGE)
    yield Layer("ActNorm", lambda: flows.ActNorm(VECTOR))
    yield Layer("ActNorm, per channel", lambda: flows.ActNorm((4, 1, 1)), IMAGE)
    yield Layer("BatchNorm", lambda: flows.BatchNorm())
    yield Layer("AffineCouplingBlock", lambda: flows.AffineCouplingBlock(net(2, 4)))
    yield Layer("AffineCouplingBlock, sigmoid", lambda: flows.AffineCouplingBlock(net(2, 4), scale_map="sigmoid"))
    yield Layer(
        "AffineCouplingBlock, sigmoid_inv", lambda: flows.AffineCouplingBlock(net(2, 4), scale_map="sigmoid_inv")
    )
    yield Layer(
        "AffineCouplingBlock, checkerboard",
        lambda: flows.AffineCouplingBlock(conv(4, 8), split_mode="checkerboard"),
        IMAGE,
    )
    yield Layer("MaskedAffineFlow", lambda: flows.MaskedAffineFlow(torch.tensor([1.0, 0, 1, 0]), net(4, 4), net(4, 4)))
    yield Layer("MaskedAffineAutoregressive", lambda: flows.MaskedAffineAutoregressive(4, 8))
    yield Layer("GlowBlock", lambda: flows.GlowBlock(4, 8), IMAGE)
    yield Layer("Permute, shuffle", lambda: flows.Permute(4))
    yield Layer("Permute, swap", lambda: flows.Permute(4, mode="swap"))
    yield Layer("Permute, swap, odd", lambda: flows.Permute(5, mode="swap"), (5,))
    for lu in (False, True):
        yield Layer(f"InvertibleAffine, use_lu={lu}", partial(flows.InvertibleAffine, 4, use_lu=lu))
        yield Layer(f"Invertible1x1Conv, use_lu={lu}", partial(flows.Invertible1x1Conv, 4, use_lu=lu), IMAGE)
    yield Layer("LULinearPermute", lambda: flows.LULinearPermute(4))
    yield Layer("Planar, leaky_relu", lambda: flows.Planar(VECTOR, act="leaky_relu"))
    yield Layer("Squeeze", lambda: flows.Squeeze(), IMAGE)
    yield Layer("PeriodicShift", lambda: flows.PeriodicShift([0, 1], bound=2.0, shift=0.5), VECTOR, (-1.9, 1.9))
    yield Layer("Residual, exact_trace", lambda: flows.Residual(nf.nets.LipschitzMLP([4, 8, 4]), exact_trace=True))
    yield Layer(
        "Residual, brute_force", lambda: flows.Residual(nf.nets.LipschitzMLP([2, 8, 2]), brute_force=True), (2,)
    )
    yield Layer("CoupledRationalQuadraticSpline", lambda: flows.CoupledRationalQuadraticSpline(4, 1, 8))
    yield Layer("AutoregressiveRationalQuadraticSpline", lambda: flows.AutoregressiveRationalQuadraticSpline(4, 1, 8))
    for kind in (flows.CircularCoupledRationalQuadraticSpline, flows.CircularAutoregressiveRationalQuadraticSpline):
        yield Layer(kind.__name__, partial(kind, 4, 1, 8, [0, 1]), VECTOR, (-2.9, 2.9))


def nflows_layers() -> Iterator[Layer]:
    from nflows import transforms as nt
    from nflows.nn.nets import ResidualNet

    def made(inputs: int, outputs: int) -> nn.Module:
        return ResidualNet(inputs, outputs, hidden_features=8, activation=torch.tanh)

    mask = [1, 0, 1, 0]
    yield Layer("MaskedAffineAutoregressiveTransform", lambda: nt.MaskedAffineAutoregressiveTransform(4, 8))
    yield Layer(
        "MaskedPiecewiseRationalQuadraticAutoregressiveTransform",
        lambda: nt.MaskedPiecewiseRationalQuadraticAutoregressiveTransform(4, 8, tails="linear", tail_bound=3.0),
    )
    made_by = nt.MaskedPiecewiseLinearAutoregressiveTransform, nt.MaskedPiecewiseCubicAutoregressiveTransform
    for each in (*made_by, nt.MaskedPiecewiseQuadraticAutoregressiveTransform):
        yield Layer(each.__name__, partial(each, features=4, hidden_features=8, num_bins=8), VECTOR, (0, 1))
    yield Layer("OneByOneConvolution", lambda: nt.OneByOneConvolution(4, identity_init=False), IMAGE)
    for name in ("Additive", "Affine"):
        kind = getattr(nt, f"{name}CouplingTransform")
        yield Layer(f"{name}CouplingTransform", partial(kind, mask, made))
    for name in ("Linear", "Quadratic", "Cubic", "RationalQuadratic"):
        kind = getattr(nt, f"Piecewise{name}CouplingTransform")
        yield Layer(f"Piecewise{name}CouplingTransform", partial(kind, mask, made), VECTOR, (0, 1))
        yield Layer(
            f"Piecewise{name}CouplingTransform, tails",
            partial(kind, mask, made, tails="linear", tail_bound=2.0),
        )
        cdf = getattr(nt, f"Piecewise{name}CDF")
        yield Layer(f"Piecewise{name}CDF", partial(cdf, VECTOR), VECTOR, (0, 1))
    yield Layer("NaiveLinear", lambda: nt.NaiveLinear(4, orthogonal_initialization=False))
    yield Layer("LULinear", lambda: nt.LULinear(4, identity_init=False))
    yield Layer("QRLinear", lambda: nt.QRLinear(4, 3))
    yield Layer("SVDLinear", lambda: nt.SVDLinear(4, 4, identity_init=False))
    yield Layer("HouseholderSequence", lambda: nt.HouseholderSequence(4, 3))
    yield Layer("Tanh", lambda: nt.Tanh())
    yield Layer("LogTanh", lambda: nt.LogTanh())
    yield Layer("LeakyReLU", lambda: nt.LeakyReLU())
    yield Layer("Sigmoid", lambda: nt.Sigmoid())
    yield Layer("Sigmoid, temperature 2", lambda: nt.Sigmoid(temperature=2))
    yield Layer("Logit", lambda: nt.Logit(), VECTOR, (0.05, 0.95))
    yield Layer(
        "CompositeCDFTransform", lambda: nt.CompositeCDFTransform(nt.Sigmoid(), nt.PiecewiseQuadraticCDF(VECTOR))
    )
    yield Layer("BatchNorm", lambda: nt.BatchNorm(4))
    yield Layer("ActNorm", lambda: nt.ActNorm(4))
    yield Layer("ActNorm, images", lambda: nt.ActNorm(4), IMAGE)
    yield Layer("RandomPermutation", lambda: nt.RandomPermutation(4))
    yield Layer("ReversePermutation", lambda: nt.ReversePermutation(4))
    yield Layer("SqueezeTransform", lambda: nt.SqueezeTransform(), IMAGE)
    yield Layer("PointwiseAffineTransform", lambda: nt.PointwiseAffineTransform(0.3, 2.0))
    yield Layer(
        "PointwiseAffineTransform, per value",
        lambda: nt.PointwiseAffineTransform(torch.zeros(4), torch.tensor([1.0, 2, 3, 0.5])),
    )
    yield Layer("IdentityTransform", lambda: nt.IdentityTransform())


def zuko_layer(flow: Any) -> Any:
    return flow(4, transforms=1, hidden_features=(8,)).transform.transforms[0]


def zuko_layers() -> Iterator[Layer]:
    from zuko import flows, transforms

    def fixed(build: Callable[..., Any], *sizes: int, **options: Any) -> Callable[[], Any]:
        def make() -> Any:
            values = [
                torch.randn(4, size, dtype=torch.float64) if size else torch.randn(4, dtype=torch.float64)
                for size in sizes
            ]
            return build(*values, **options)

        return make

    yield Layer("CosTransform", lambda: transforms.CosTransform(), VECTOR, (0.1, 3.0))
    yield Layer("SinTransform", lambda: transforms.SinTransform(), VECTOR, (-1.5, 1.5))
    yield Layer("SoftclipTransform", lambda: transforms.SoftclipTransform(5.0))
    yield Layer(
        "CircularShiftTransform",
        lambda: transforms.CircularShiftTransform(bound=2.0),
        VECTOR,
        (-1.9, 1.9),
    )
    yield Layer("SignedPowerTransform", fixed(transforms.SignedPowerTransform, 0))
    yield Layer("AdditiveTransform", fixed(transforms.AdditiveTransform, 0))
    yield Layer("MonotonicAffineTransform", fixed(transforms.MonotonicAffineTransform, 0, 0))
    yield Layer("MonotonicRQSTransform", fixed(transforms.MonotonicRQSTransform, 8, 8, 7))
    yield Layer("BernsteinTransform", fixed(transforms.BernsteinTransform, 8))
    yield Layer("BoundedBernsteinTransform", fixed(transforms.BoundedBernsteinTransform, 8))
    yield Layer("GaussianizationTransform", fixed(transforms.GaussianizationTransform, 8, 8))
    yield Layer("PermutationTransform", lambda: transforms.PermutationTransform(torch.tensor([2, 0, 3, 1])))
    yield Layer("RotationTransform", lambda: transforms.RotationTransform(torch.randn(4, 4, dtype=torch.float64)))
    yield Layer("LULinearTransform", lambda: transforms.LULinearTransform(torch.randn(4, 4, dtype=torch.float64)))
    for kind in (flows.MaskedAutoregressiveTransform, flows.GeneralCouplingTransform):
        yield Layer(kind.__name__, partial(kind, 4, hidden_features=(8,)))
    yield Layer("ElementWiseTransform", lambda: flows.ElementWiseTransform(4))
    yield Layer("FFJTransform", lambda: flows.FFJTransform(4, hidden_features=(8,)))
    for kind in (flows.NAF, flows.UNAF, flows.SOSPF, flows.BPF, flows.NSF, flows.NICE):
        yield Layer(
            f"{kind.__name__}, a layer",
            partial(zuko_layer, kind),
        )


def freia_layers() -> Iterator[Layer]:
    from FrEIA import modules as fm

    vector, image = [VECTOR], [IMAGE]
    matrix = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(3)))[0] * 1.5
    for kind in (
        fm.NICECouplingBlock,
        fm.RNVPCouplingBlock,
        fm.GLOWCouplingBlock,
        fm.GINCouplingBlock,
        fm.AffineCouplingOneSided,
    ):
        yield Layer(kind.__name__, partial(kind, vector, subnet_constructor=net))
    yield Layer("RNVPCouplingBlock, images", lambda: fm.RNVPCouplingBlock(image, subnet_constructor=conv), IMAGE)
    for kind in ("SOFTPLUS", "SIGMOID", "EXP"):
        yield Layer(
            f"AllInOneBlock, {kind}",
            partial(fm.AllInOneBlock, vector, subnet_constructor=net, global_affine_type=kind),
        )
    yield Layer("AllInOneBlock, images", lambda: fm.AllInOneBlock(image, subnet_constructor=conv), IMAGE)
    yield Layer("AllInOneBlock, gin", lambda: fm.AllInOneBlock(vector, subnet_constructor=net, gin_block=True))
    yield Layer("AllInOneBlock, soft", lambda: fm.AllInOneBlock(vector, subnet_constructor=net, permute_soft=True))
    yield Layer(
        "AllInOneBlock, householder",
        lambda: fm.AllInOneBlock(vector, subnet_constructor=net, learned_householder_permutation=3),
    )
    yield Layer(
        "AllInOneBlock, reverse", lambda: fm.AllInOneBlock(vector, subnet_constructor=net, reverse_permutation=True)
    )
    yield Layer("PermuteRandom", lambda: fm.PermuteRandom(vector))
    yield Layer("FixedLinearTransform", lambda: fm.FixedLinearTransform(vector, M=matrix, b=torch.ones(4)))
    yield Layer("Fixed1x1Conv", lambda: fm.Fixed1x1Conv(image, M=matrix), IMAGE)
    yield Layer("InvertibleSigmoid", lambda: fm.InvertibleSigmoid(vector))
    yield Layer("ActNorm", lambda: fm.ActNorm(vector))
    yield Layer("ActNorm, images", lambda: fm.ActNorm(image), IMAGE)
    yield Layer("OrthogonalTransform", lambda: fm.OrthogonalTransform(vector), constrained=("layer.weights",))
    yield Layer("HouseholderPerm", lambda: fm.HouseholderPerm(vector, n_reflections=3))
    yield Layer("InvAutoAct", lambda: fm.InvAutoAct(vector))
    yield Layer("InvAutoActTwoSided", lambda: fm.InvAutoActTwoSided(vector))
    yield Layer("InvAutoActFixed", lambda: fm.InvAutoActFixed(vector))
    yield Layer("LearnedElementwiseScaling", lambda: fm.LearnedElementwiseScaling(vector))
    yield Layer("LearnedElementwiseScaling, images", lambda: fm.LearnedElementwiseScaling(image), IMAGE)
    yield Layer("IRevNetDownsampling", lambda: fm.IRevNetDownsampling(image), IMAGE)
    yield Layer("HaarDownsampling", lambda: fm.HaarDownsampling(image), IMAGE)
    yield Layer("HaarDownsampling, rebalance 2", lambda: fm.HaarDownsampling(image, rebalance=2.0), IMAGE)
    yield Layer("HaarUpsampling", lambda: fm.HaarUpsampling(image), IMAGE)
    yield Layer("Flatten", lambda: fm.Flatten(image), IMAGE)


LAYERS = {"normflows": normflows_layers, "nflows": nflows_layers, "zuko": zuko_layers, "FrEIA": freia_layers}
