import pytest
import torch
import torch.nn.functional as F

from lightning_flows.nets import MLP


def net(depth: int = 2) -> MLP:
    """A net whose last layer is not zero."""
    mlp = MLP(3, 4, width=5, depth=depth).double()
    with torch.no_grad():
        mlp.layers[-1].weight.normal_()
        mlp.layers[-1].bias.normal_()
    return mlp


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_starts_as_zero(depth):
    out = MLP(3, 4, width=5, depth=depth)(100 * torch.randn(2, 3, 1, 1))
    assert torch.equal(out, torch.zeros(2, 4, 1, 1))


def test_formula():
    x, mlp = torch.randn(2, 3, 1, 1, dtype=torch.float64), net()
    first, _, second, _, last = mlp.layers
    expected = last(F.silu(second(F.silu(first(x[:, :, 0, 0])))))
    assert torch.equal(mlp(x), expected[..., None, None])
    assert [tuple(p.shape) for p in mlp.parameters()] == [(5, 3), (5,), (5, 5), (5,), (4, 5), (4,)]


def test_without_hidden_layers_it_is_affine():
    x, y = torch.randn(2, 1, 3, 1, 1, dtype=torch.float64)
    mlp = net(depth=0)
    torch.testing.assert_close(mlp(x + y), mlp(x) + mlp(y) - mlp(0 * x), rtol=0, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_output_has_x_s_dtype_under_autocast(dtype):
    mlp, x = net().to(dtype), torch.randn(2, 3, 1, 1, dtype=dtype)
    assert mlp(x).dtype == dtype
    with torch.autocast("cpu", torch.bfloat16):
        assert mlp(x).dtype == dtype


def test_the_context_is_ignored():
    mlp, x = net(), torch.randn(2, 3, 1, 1, dtype=torch.float64)
    assert torch.equal(mlp(x, torch.randn(2, 7, 1, 1)), mlp(x))
