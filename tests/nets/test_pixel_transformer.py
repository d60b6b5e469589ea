import pytest
import torch

from lightning_flows.errors import ShapeError, UsageError
from lightning_flows.nets import AttentionSizes, PixelTransformer
from lightning_flows.nets.pixel_transformer import ERROR_SCALE

SIZES = AttentionSizes(8, 2, 2)


def net(window: int = 3) -> PixelTransformer:
    torch.manual_seed(0)
    net = PixelTransformer((2, 3, 4), 5, SIZES, window=window).double()
    for parameter in net.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return net


def seen(window: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Whether the output, and the prediction, of a pixel depend on another ``(12, 12)``, row by row."""
    y = torch.randn(1, 2, 3, 4, dtype=torch.float64)
    outputs, prediction = torch.autograd.functional.jacobian(net(window), y)
    return tuple(part[0].abs().sum(1)[:, 0].sum(1).flatten(1) > 0 for part in (outputs, prediction))


@pytest.mark.parametrize("window", [3, 5, 9])
def test_outputs_depend_on_windows_and_the_windows_of_their_pixels_before_and_on_no_others(window: int) -> None:
    rows, columns = torch.arange(12) // 4, torch.arange(12) % 4
    front, side = columns + (window // 2 + 1) * rows, window // 2
    down, right = rows[:, None] - rows, columns - columns[:, None]
    in_window = (down >= 0) & (down <= side) & (right.abs() <= side) & ((down > 0) | (right < 0))
    attends = (front < front[:, None]) | ((front == front[:, None]) & (rows <= rows[:, None]))
    depends, predicted = seen(window)
    assert not (depends & (front >= front[:, None])).any()
    assert torch.equal(predicted, in_window)
    embedded = in_window.float() + in_window.float() @ in_window.float()  # with the errors of predictions in the window
    assert torch.equal(depends, attends.float() @ embedded > 0)


@pytest.mark.parametrize("window", [5, 9])
def test_windows_as_wide_as_the_image_see_all_earlier_fronts(window: int) -> None:
    front = torch.arange(12) % 4 + (window // 2 + 1) * (torch.arange(12) // 4)
    assert torch.equal(seen(window)[0], front < front[:, None])


@pytest.mark.parametrize("window", [3, 5, 9])
def test_solving_front_by_front_sees_the_same_outputs(window: int) -> None:
    y, outputs = torch.randn(3, 2, 3, 4, dtype=torch.float64), torch.empty(3, 12, 7, dtype=torch.float64)
    one, visits = net(window), []

    def solve_pixels(rows: torch.Tensor, columns: torch.Tensor, *found: torch.Tensor) -> torch.Tensor:
        visits.append(len(rows))
        outputs[:, 4 * rows + columns] = torch.cat(found, 2)
        return y[:, :, rows, columns].mT

    solved = one.solve(3, solve_pixels)
    assert torch.equal(solved, y)
    assert len(visits) == min(4 + 2 * (window // 2 + 1), 12)
    torch.testing.assert_close(outputs, torch.cat(one(y), 2).detach(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [(2, 2, 4), (2, 3, 2), (2, 6, 4), (2, 4, 3), (1, 3, 4)])
def test_other_images_are_refused(shape: tuple[int, ...]) -> None:
    message = r"PixelTransformer: expected images of shape \(B, 2, 3, 4\); got \(1, "
    for y in (torch.zeros(1, *shape), torch.zeros(1, 24)):
        with pytest.raises(ShapeError, match=message):
            net()(y.double())


def test_arguments_are_checked() -> None:
    for window in (1, 4, 11):
        with pytest.raises(UsageError, match=f"expected an odd window from 3 to 9; got {window}"):
            PixelTransformer((2, 3, 4), 5, SIZES, window=window)
    with pytest.raises(ShapeError, match=r"expected events \(C, H, W\); got \(3,\)"):
        PixelTransformer((3,), 5, SIZES)


def test_the_magnitudes_of_errors_are_embedded() -> None:
    """Of two images with equal predictions and opposite errors, the embeddings differ by the odd part only."""
    one = net()
    windows = torch.zeros(1, 12, 2 * one.taps, dtype=torch.float64)
    errors = torch.randn_like(windows)
    _, of_errors, of_magnitudes = one.embed.weight.split(2 * one.taps, dim=1)
    even = (one._embed(windows, errors) + one._embed(windows, -errors)) / 2 - one.embed.bias
    torch.testing.assert_close(even, ERROR_SCALE * errors.abs() @ of_magnitudes.mT)
    odd = (one._embed(windows, errors) - one._embed(windows, -errors)) / 2
    torch.testing.assert_close(odd, ERROR_SCALE * errors @ of_errors.mT)
