import pytest
import torch

from lightning_flows.errors import ShapeError
from lightning_flows.functional.value_maps import ValueMap, apply_map
from lightning_flows.nets import AttentionSizes, PixelFunction

SHAPE = (3, 2, 3)


HEADS = pytest.mark.parametrize("head_width", [0, 6])


def function(value_map: ValueMap = "mixture", dtype: torch.dtype = torch.float64, head_width: int = 0) -> PixelFunction:
    torch.manual_seed(0)
    options = {"value_map": value_map, "components": 4, "head_width": head_width, "window": 3}
    made = PixelFunction(SHAPE, AttentionSizes(8, 1, 2), **options).to(dtype)
    for parameter in made.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return made


@HEADS
@pytest.mark.parametrize("value_map", ["mixture", "spline", "affine"])
def test_the_jacobian_is_triangular_with_the_given_diagonal(value_map: ValueMap, head_width: int) -> None:
    y, made = torch.randn(1, *SHAPE, dtype=torch.float64), function(value_map, head_width=head_width)

    def pixels_first(flat: torch.Tensor) -> torch.Tensor:
        return made(flat.reshape(1, 6, 3).mT.reshape(1, *SHAPE))[0].flatten(2).mT.flatten()

    jacobian = torch.autograd.functional.jacobian(pixels_first, y.flatten(2).mT.flatten())
    front = torch.tensor([0, 1, 2, 2, 3, 4]).repeat_interleave(3)  # a front is two pixels behind in the next row
    same_pixel = torch.ones(18, 18, dtype=torch.bool).tril() & torch.block_diag(*[torch.ones(3, 3)] * 6).bool()
    allowed = (front < front[:, None]) | same_pixel
    assert torch.equal(jacobian != 0, allowed)
    torch.testing.assert_close(jacobian.diagonal(), made(y)[1].flatten(2).mT.flatten(), rtol=0, atol=1e-12)


def test_values_less_their_prediction_and_multiples_of_lower_channels_are_mapped() -> None:
    made = function()
    y = torch.randn(2, *SHAPE, dtype=torch.float64)
    outputs, predictions = (found[:, 3] for found in made.net(y))  # of a pixel that has others above it
    params, multiples = outputs[:, :36].unflatten(1, (3, 12)), outputs[:, 36:]
    rest = y[:, :, 1, 0] - predictions
    assert (predictions[0] != predictions[1]).all()
    last = rest[:, 2] - multiples[:, 1] * rest[:, 0] - multiples[:, 2] * rest[:, 1]
    expected, _ = apply_map("mixture", last, params[:, 2])
    torch.testing.assert_close((y + made(y)[0])[:, 2, 1, 0], expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@HEADS
@pytest.mark.parametrize("value_map", ["mixture", "spline", "affine"])
def test_the_solver_inverts(value_map: ValueMap, dtype: torch.dtype, head_width: int) -> None:
    made, y = function(value_map, dtype, head_width), torch.randn(5, *SHAPE, dtype=dtype)
    apply, solve = made.bind_with_solver()
    v = y + apply(y)[0]
    found = solve(v, v.new_zeros(5), v.new_zeros(5), None)
    flat = 1 / (1 + found.diagonal).min().clamp(max=1)  # there y is less certain than y + f(y)
    torch.testing.assert_close(found.y, y, rtol=0, atol=1e4 * torch.finfo(dtype).eps * float(flat))
    assert (found.report.residual <= 100 * torch.finfo(dtype).eps).all()
    torch.testing.assert_close(found.diagonal, apply(found.y)[1])


def test_a_masked_head_changes_the_map_of_a_channel_with_the_lower_ones() -> None:
    """A linear head only shifts it: moving y along with its shift leaves z as it is."""
    for head_width in (0, 6):
        head = function(head_width=head_width).head
        outputs = torch.randn(1, head.num_inputs, dtype=torch.float64).expand(9, -1)
        one, two = torch.randn(2, 1, 2, dtype=torch.float64)
        moved, inverse = torch.linspace(-1, 1, 9, dtype=torch.float64)[:, None], head.bind_inverse()
        maps = [inverse(torch.cat([y.expand(9, 2), moved], 1), outputs, y.new_zeros(3))[0] for y in (one, two)]
        shifts = (maps[0] - maps[1])[:, 2]
        assert torch.allclose(shifts, shifts[:1].expand(9), atol=1e-9) is (head_width == 0)


@pytest.mark.parametrize("shape", [(3, 2, 2), (3, 1, 3), (3, 4, 3), (1, 2, 3)])
def test_other_images_are_not_solved(shape: tuple[int, ...]) -> None:
    v = torch.zeros(2, *shape, dtype=torch.float64)
    with pytest.raises(ShapeError, match="expected images of shape"):
        function().bind_with_solver()[1](v, v.new_zeros(2), v.new_zeros(2), None)
