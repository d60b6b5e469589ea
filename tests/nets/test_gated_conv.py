"""Gated encoder and decoder."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lightning_flows.errors import ShapeError, UsageError
from lightning_flows.nets.gated_conv import (
    GatedConv2d,
    GatedConvSizes,
    GatedConvTranspose2d,
    GatedDecoder,
    GatedEncoder,
    LinearConvs,
)

SMALL = GatedConvSizes(width=3, features=5, hidden=4)
FREY = (1, 28, 20)


def layers(net: nn.Module) -> list[tuple[int, int, tuple[int, ...], tuple[int, ...]]]:
    """Input channels, output channels before the gates, kernel and stride of each convolution."""
    kinds = nn.Conv2d, nn.ConvTranspose2d
    found = [layer for layer in net.modules() if isinstance(layer, kinds)]
    return [(each.in_channels, each.out_channels, each.kernel_size, each.stride) for each in found]


def test_layers_are_the_published_ones() -> None:
    one, two, five, last = (1, 1), (2, 2), (5, 5), (7, 5)
    assert layers(GatedEncoder(FREY, GatedConvSizes())) == [
        (1, 2 * 32, five, one),
        (32, 2 * 32, five, two),
        (32, 2 * 64, five, one),
        (64, 2 * 64, five, two),
        (64, 2 * 64, five, one),
        (64, 2 * 256, last, one),
    ]
    gated = [
        (64, 2 * 64, last, one),
        (64, 2 * 64, five, one),
        (64, 2 * 32, five, two),
        (32, 2 * 32, five, one),
        (32, 2 * 32, five, two),
        (32, 2 * 32, five, one),
    ]
    assert layers(GatedDecoder(64, FREY, 256, GatedConvSizes())) == [
        *gated,
        (32, 256, five, one),
        (256, 256, (1, 1), one),
    ]
    assert layers(GatedDecoder(64, FREY, 1, GatedConvSizes())) == [*gated, (32, 1, (1, 1), one)]


@pytest.mark.parametrize("num_logits", [1, 7])
@pytest.mark.parametrize("event_shape", [(1, 28, 20), (3, 8, 4), (2, 4, 12)])
def test_shapes(event_shape: tuple[int, int, int], num_logits: int) -> None:
    h = GatedEncoder(event_shape, SMALL)(torch.randn(2, *event_shape))
    assert h.shape == (2, 5)
    logits = GatedDecoder(6, event_shape, num_logits, SMALL)(torch.randn(2, 6))
    assert logits.shape == (2, num_logits * event_shape[0], *event_shape[1:])


@pytest.mark.parametrize(("stride", "padding"), [(1, 2), (2, 2)])
def test_gated_convolutions_are_pairs_of_convolutions(stride: int, padding: int) -> None:
    x = torch.randn(2, 3, 8, 6)
    conv, transposed = GatedConv2d(3, 4, 5, stride, padding), GatedConvTranspose2d(3, 4, 5, stride, padding)
    h, g = (F.conv2d(x, w, b, stride, padding) for w, b in zip(*(p.chunk(2) for p in conv.parameters()), strict=True))
    torch.testing.assert_close(conv(x), h * g.sigmoid())
    weights, biases = transposed.weight.chunk(2, dim=1), transposed.bias.chunk(2)
    h, g = (
        F.conv_transpose2d(x, w, b, stride, padding, output_padding=stride - 1)
        for w, b in zip(weights, biases, strict=True)
    )
    torch.testing.assert_close(transposed(x), h * g.sigmoid())
    assert transposed(x).shape == (2, 4, 8 * stride, 6 * stride)


@pytest.mark.parametrize("kind", ["conv", "transposed"])
def test_initial_weights_are_those_of_separate_convolutions(kind: str) -> None:
    gated = GatedConv2d(16, 8, 5) if kind == "conv" else GatedConvTranspose2d(16, 8, 5)
    separate = nn.Conv2d(16, 8, 5) if kind == "conv" else nn.ConvTranspose2d(16, 8, 5)
    for one, other in zip(gated.parameters(), separate.parameters(), strict=True):
        assert one.numel() == 2 * other.numel()
    weight = gated.weight
    bound = separate.weight.abs().max().item()
    assert weight.abs().max().item() == pytest.approx(bound, rel=0.01)
    assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.03)


def test_linear_convolutions_are_composed() -> None:
    net = LinearConvs(2, 3, 4).double()
    x = torch.randn(2, 2, 6, 5, dtype=torch.float64, requires_grad=True)
    expected = net.second(net.first(x))
    torch.testing.assert_close(net(x), expected)
    weights = torch.randn_like(expected)
    inputs = [x, *net.parameters()]
    found, wanted = (torch.autograd.grad((y * weights).sum(), inputs) for y in (net(x), expected))
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("event_shape", [(1, 28, 30), (1, 6, 8), (1, 0, 4), (28, 28)])
def test_other_sizes_are_refused(event_shape: tuple[int, ...]) -> None:
    for build in (lambda: GatedEncoder(event_shape, SMALL), lambda: GatedDecoder(2, event_shape, 1, SMALL)):
        with pytest.raises(ShapeError, match=r"H and W multiples of 4; got .*: resize or pad"):
            build()


def test_images_without_channels_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"sizes of at least 1; got \(0, 8, 8\)"):
        GatedEncoder((0, 8, 8), SMALL)


@pytest.mark.parametrize("name", ["width", "features", "hidden"])
def test_sizes_are_positive(name: str) -> None:
    with pytest.raises(UsageError, match=f"expected {name} of at least 1"):
        GatedConvSizes(**{name: 0})
