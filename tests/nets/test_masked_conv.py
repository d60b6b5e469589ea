import pytest
import torch
import torch.nn.functional as F

from lightning_flows.errors import ShapeError, UsageError
from lightning_flows.nets import AutoregressiveConvNet, MaskedConv2d
from lightning_flows.nets.masked_conv import sum_of_columns, triangular_conv
from lightning_flows.testing.jacobian import jacobians
from tests.transforms.cases import perturb

SHAPE = (3, 4, 3)


def reverse_raster(matrix: torch.Tensor, channels: int) -> torch.Tensor:
    """Rows and columns of Jacobians in the order of the net: last pixel first, channels ascending."""
    index = torch.arange(matrix.shape[-1]).reshape(channels, -1).flip(1).T.flatten()
    return matrix[..., index, :][..., index]


@pytest.mark.parametrize("shape", [SHAPE, (1, 3, 4), (4, 1, 1), (4, 3, 1), (4, 1, 3)])
@pytest.mark.parametrize("width", [1, 2, 4, 5, 12, 17])
@pytest.mark.parametrize("max_norm", [1.5, None])
def test_jacobian_is_strictly_triangular(shape, width, max_norm):
    net = AutoregressiveConvNet(shape, width, max_norm=max_norm).double()
    y = torch.randn(2, *shape, dtype=torch.float64)
    perturb(net, y)
    for head in range(4):
        matrix = reverse_raster(jacobians(lambda value, head=head: net(value)[head], y), shape[0])
        assert not torch.triu(matrix).any()
    bias = net.heads.bias.detach().chunk(4)
    for value, one in zip(net(y), bias, strict=True):  # the first value in the order depends on nothing
        torch.testing.assert_close(value[:, 0, -1, -1], one[0].expand(2))


def test_blocks_equal_the_dense_kernel():
    """A width of several blocks, and derivatives of any order of its convolution."""
    layer = MaskedConv2d(300, 300, kernel_size=1, strict=False, size=(2, 2), max_norm=1.5).double()
    assert layer.packing.edges == (0, 144, 300)
    assert layer.weight.numel() == 300 * 144 + 156 * 156
    assert not torch.triu(layer.dense_weight()[:, :, 0, 0], 1).any()
    x = torch.randn(2, 300, 2, 2, dtype=torch.float64)
    parts = x.split(layer.packing.widths, dim=1)
    torch.testing.assert_close(
        layer.bind_columns(layer.effective_weight())(parts), F.conv2d(x, layer.kernel(), layer.bias)
    )
    small = [torch.randn(size, dtype=torch.float64, requires_grad=True) for size in (5, (2, 2, 1, 2), (2, 3, 1, 2))]
    columns = [torch.randn(size, dtype=torch.float64, requires_grad=True) for size in ((5, 2, 1, 1), (3, 3, 1, 1))]

    def convolve(bias, *rest):
        return triangular_conv(rest[:2], rest[2:], bias)

    assert torch.autograd.gradcheck(convolve, (*small, *columns), fast_mode=True)
    assert torch.autograd.gradgradcheck(convolve, (*small, *columns), fast_mode=True)


def test_every_previous_value_matters():
    """Nothing below the diagonal is masked unnecessarily: nearby pixels and all lower channels matter."""
    net = perturb(AutoregressiveConvNet(SHAPE, 60).double(), torch.randn(8, *SHAPE, dtype=torch.float64))
    y = torch.randn(30, *SHAPE, dtype=torch.float64)
    seen = reverse_raster(jacobians(lambda value: net(value)[0], y), 3).abs().amax(0) > 0
    order = [(h, w, c) for h in reversed(range(4)) for w in reversed(range(3)) for c in range(3)]
    for i, (h, w, c) in enumerate(order):
        for j, (h2, w2, c2) in enumerate(order[:i]):
            same_row, row_below = h2 == h and w2 - w <= 2, h2 == h + 1 and -1 <= w2 - w <= 2
            if same_row or row_below:
                assert seen[i, j], (h, w, c, h2, w2, c2)


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("kernel_size", [3, 5])
@pytest.mark.parametrize(("n_in", "n_out"), [(3, 6), (6, 3), (4, 4), (5, 3)])
def test_equals_the_full_masked_convolution(strict, kernel_size, n_in, n_out):
    layer = MaskedConv2d(n_in, n_out, kernel_size=kernel_size, strict=strict, size=(6, 5), heads=2).double()
    torch.nn.init.normal_(layer.bias)
    center = kernel_size // 2
    full = torch.zeros(2 * n_out, n_in, kernel_size, kernel_size, dtype=torch.float64)
    full[:, :, center:] = layer.dense_weight().detach()
    assert not full[:, :, :center].any()
    assert not full[:, :, center, :center].any()
    x = torch.randn(2, n_in, 6, 5, dtype=torch.float64)
    expected = F.conv2d(x, full, layer.bias, padding=center)
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(layer(x.to(memory_format=torch.channels_last)), expected, rtol=0, atol=1e-12)


def test_heads_equal_separate_convolutions():
    options = {"kernel_size": 3, "strict": True, "size": (4, 3), "max_norm": 1.5}
    together = MaskedConv2d(6, 3, heads=4, **options).double()
    torch.nn.init.normal_(together.bias)
    x = torch.randn(2, 6, 4, 3, dtype=torch.float64)
    for i, head in enumerate(together(x).chunk(4, dim=1)):
        alone = MaskedConv2d(6, 3, **options).double()
        alone.load_state_dict(
            {
                "weight": together.weight.chunk(4)[i],
                "bias": together.bias.chunk(4)[i],
                "spectral_norm.vector": layer_vector(together, i),
            }
        )
        torch.testing.assert_close(alone.eval()(x), head, rtol=0, atol=1e-3)


def layer_vector(layer: MaskedConv2d, head: int) -> torch.Tensor:
    return layer.spectral_norm.vector.chunk(layer.spectral_norm.groups, dim=1)[head]


def test_a_checkpoint_holds_no_masks():
    net = AutoregressiveConvNet((12, 16, 16), 528)
    values = sum(value.numel() for value in net.state_dict().values())
    assert values <= 1.1 * sum(parameter.numel() for parameter in net.parameters())
    assert not [name for name in net.state_dict() if "mask" in name]


def test_wrong_arguments():
    with pytest.raises(ShapeError, match=r"expected events \(C, H, W\); got \(3, 4\)"):
        AutoregressiveConvNet((3, 4), 8)
    with pytest.raises(UsageError, match="expected hidden_channels of at least 1; got 0"):
        AutoregressiveConvNet((3, 4, 4), 0)


def test_heads_start_small():
    """A tenth of a convolution's usual start, which is uniform within 1/√fan-in."""
    net = AutoregressiveConvNet((4, 8, 8), 64)
    for conv, scale in ((net.input, 1.0), (net.heads, 0.1)):
        bound = scale * conv.weight[0].numel() ** -0.5
        assert 0.9 * bound < conv.weight.abs().max() <= bound


def test_a_compiled_sum_of_columns_is_not_written_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    parts, columns = (
        [torch.randn(2, 3, 4, 4), torch.randn(2, 2, 4, 4)],
        [torch.randn(5, 3, 1, 1), torch.randn(2, 2, 1, 1)],
    )
    expected = sum_of_columns(parts, columns, torch.ones(5))
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    total = sum_of_columns(parts, columns, torch.ones(5))
    assert total._version == 0
    torch.testing.assert_close(total, expected)
