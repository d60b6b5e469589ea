import pytest
import torch

from lightning_flows.errors import ShapeError, UsageError
from lightning_flows.nets import AttentionSizes, PixelTransformer

SIZES = AttentionSizes(8, 2, 2)


def net(window: int = 3) -> PixelTransformer:
    torch.manual_seed(0)
    net = PixelTransformer((2, 3, 4), 5, SIZES, window=window).double()
    for parameter in net.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return net


@pytest.mark.parametrize("window", [3, 5, 9])
def test_outputs_depend_on_all_pixels_before_and_no_others(window: int) -> None:
    y = torch.randn(1, 2, 3, 4, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(net(window), y)[0].abs().sum(1)[:, 0].sum(1).flatten(1)
    depends = torch.ones(12, 12, dtype=torch.bool).tril(-1)
    assert torch.equal(jacobian > 0, depends)


def test_solving_pixel_by_pixel_sees_the_same_outputs() -> None:
    y, outputs = torch.randn(3, 2, 3, 4, dtype=torch.float64), torch.empty(3, 12, 5, dtype=torch.float64)
    one = net(5)

    def solve_pixel(row: int, column: int, found: torch.Tensor) -> torch.Tensor:
        outputs[:, 4 * row + column] = found
        return y[:, :, row, column]

    solved = one.solve(3, solve_pixel, channels=2)
    assert torch.equal(solved, y)
    torch.testing.assert_close(outputs, one(y).detach(), rtol=0, atol=1e-12)


def test_arguments_are_checked() -> None:
    for window in (1, 4, 11):
        with pytest.raises(UsageError, match=f"expected an odd window from 3 to 9; got {window}"):
            PixelTransformer((2, 3, 4), 5, SIZES, window=window)
    with pytest.raises(ShapeError, match=r"expected events \(C, H, W\); got \(3,\)"):
        PixelTransformer((3,), 5, SIZES)
