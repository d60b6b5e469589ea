import torch

from lightning_flows.dequantization import UniformDequantization


def test_uniform_noise():
    x = torch.randint(0, 256, (50, 3, 8, 8), dtype=torch.uint8)
    dequantization = UniformDequantization((3, 4, 4))
    u, log_q = dequantization.sample(x, generator=torch.Generator().manual_seed(0))
    assert u.shape == x.shape
    assert u.min() >= 0
    assert u.max() < 1
    assert abs(u.mean() - 0.5) < 3 / (12 * u.numel()) ** 0.5
    torch.testing.assert_close(log_q, torch.zeros(50))
    assert torch.equal((x + u).floor(), x.float())
    again, _ = dequantization.sample(x, generator=torch.Generator().manual_seed(0))
    assert torch.equal(again, u)
