import pytest
import torch

from lightning_flows.dequantization import UniformDequantization
from lightning_flows.errors import InputTypeError, ShapeError
from lightning_flows.functional.philox import streams


def test_uniform_noise():
    x = torch.randint(0, 256, (50, 3, 8, 8), dtype=torch.uint8)
    dequantization = UniformDequantization((3, 8, 8))
    u, log_q = dequantization.sample(x, generator=torch.Generator().manual_seed(0))
    assert u.shape == x.shape
    assert u.min() >= 0
    assert u.max() < 1
    assert abs(u.mean() - 0.5) < 3 / (12 * u.numel()) ** 0.5
    torch.testing.assert_close(log_q, torch.zeros(50))
    assert torch.equal((x + u).floor(), x.float())
    again, _ = dequantization.sample(x, generator=torch.Generator().manual_seed(0))
    assert torch.equal(again, u)


def test_noise_of_an_image_does_not_depend_on_its_batch():
    dequantization = UniformDequantization((1, 4, 4))
    noise = dequantization.draw_noise(4, streams(0, "test", range(4)))
    assert torch.equal(noise[2:3], dequantization.draw_noise(1, streams(0, "test", [2])))
    assert dequantization.draw_noise(0, streams(0, "test", [])).shape == (0, 1, 4, 4)
    with pytest.raises(ValueError, match="expected one stream per image; got 4 for 3"):
        dequantization.draw_noise(3, streams(0, "test", range(4)))


def test_other_images_are_refused():
    dequantization = UniformDequantization((1, 4, 4))
    with pytest.raises(InputTypeError, match=r"expected uint8 images; got torch.float32"):
        dequantization.sample(torch.zeros(2, 1, 4, 4))
    with pytest.raises(ShapeError, match=r"expected images of shape \(1, 4, 4\); got \(3, 4, 4\)"):
        dequantization.sample(torch.zeros(2, 3, 4, 4, dtype=torch.uint8))
