import pytest
import torch

from lightning_flows.dequantization import VariationalDequantization
from lightning_flows.distributions import standard_normal_log_prob
from lightning_flows.functional.philox import streams
from lightning_flows.nets import DenseSizes
from lightning_flows.testing.jacobian import log_abs_dets
from lightning_flows.testing.perturbation import Module
from lightning_flows.transforms import ConvExponential
from lightning_flows.transforms.image.mixing import MIXINGS
from tests import golden
from tests.golden import Entry

SMALL = {"num_steps": 1, "net": DenseSizes(6, 1, 4), "context": DenseSizes(3, 1, 32)}


@torch.no_grad()
def moved(module: Module, noise: float = 0.2, channels: int = 1) -> Module:
    """Perturb parameters and let power iterations converge."""
    for parameter in module.parameters():
        parameter.add_(noise * torch.randn_like(parameter))
    x = torch.randint(0, 256, (2, channels, 4, 4), dtype=torch.uint8)
    for _ in range(40):
        module.train().sample(x)
    return module.eval()


@pytest.mark.parametrize("mixing", MIXINGS)
def test_the_density_matches_the_jacobian(mixing):
    q = moved(VariationalDequantization((1, 4, 4), mixing=mixing, **SMALL).double())
    x = torch.randint(0, 256, (3, 1, 4, 4), dtype=torch.uint8)
    noise = q.draw_noise(3)
    assert noise.shape == (3, 4, 2, 2)
    context = q.context(x)
    u, log_q = q.transform(noise, context)
    volume = log_abs_dets(lambda value: q.transform(value, context.detach())[0], noise)
    torch.testing.assert_close(log_q.detach(), standard_normal_log_prob(noise) - volume, rtol=0, atol=1e-8)
    latent, log_det = q.transforms(u, context)
    expected = q.base.log_prob(latent) + log_det
    torch.testing.assert_close(log_q, expected, rtol=0, atol=1e-8)


@torch.no_grad()
def test_noise_depends_on_the_image_and_stays_in_the_unit_interval():
    q = moved(VariationalDequantization((1, 4, 4), **SMALL), noise=1.0)
    x = torch.randint(0, 256, (200, 1, 4, 4), dtype=torch.uint8)
    noise = 5 * q.draw_noise(200)
    u, log_q = q.transform(noise, q.context(x))
    assert u.min() >= 0
    assert u.max() < 1
    assert log_q.isfinite().all()
    assert torch.equal((x.double() + u.double()).floor(), x.double())
    other, _ = q.transform(noise, q.context(255 - x))
    assert (other - u).abs().max() > 0.1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_noise_is_normal_in_the_dtype_of_the_parameters(dtype):
    q = VariationalDequantization((1, 4, 4), **SMALL).to(dtype)
    for source in (None, streams(0, "test", range(2000))):
        noise = q.draw_noise(2000, source)
        assert noise.shape == (2000, 4, 2, 2)
        assert noise.dtype == dtype
        assert noise.mean().abs() < 4 / noise.numel() ** 0.5
        assert (noise.square().mean() - 1).abs() < 4 * (2 / noise.numel()) ** 0.5


@torch.no_grad()
def test_drawing_noise_uses_the_cheap_direction():
    q = VariationalDequantization((1, 4, 4), mixing="conv_exponential", **SMALL).train()
    before = {name: value.clone() for name, value in q.named_buffers()}
    calls = []
    for module in q.modules():
        if isinstance(module, ConvExponential):
            module.register_forward_hook(lambda *_: calls.append(1))
    x = torch.randint(0, 256, (2, 1, 4, 4), dtype=torch.uint8)
    q.sample(x)
    assert len(calls) == 2  # one more than there are couplings
    vectors = [name for name in before if name.endswith("spectral_norm.vector")]
    assert vectors
    assert all(not torch.equal(dict(q.named_buffers())[name], before[name]) for name in vectors)


def test_every_parameter_gets_a_gradient():
    q = moved(VariationalDequantization((3, 4, 4), mixing="emerging", **SMALL), noise=0.1, channels=3)
    u, log_q = q.sample(torch.randint(0, 256, (4, 3, 4, 4), dtype=torch.uint8))
    (u.square().sum() - log_q.sum()).backward()
    for name, parameter in q.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


@torch.no_grad()
def test_parity_with_the_authors():
    tensors, config = golden.load("dequant_flow_1x1")
    q = VariationalDequantization(
        (3, 16, 16),
        num_steps=config["dequantize_subflows"],
        net=DenseSizes(config["n_intermediate_channels"], config["densenet_depth"], config["densenet_growth"]),
        context=DenseSizes(config["n_context"], depth=2, growth=8),
    )
    flow = "qu.distribution"
    entries = [Entry(f"{flow}.base.mu", "base.mean"), Entry(f"{flow}.base.log_sigma", "base.log_scale")]
    for i, ours in {2: "2", 4: "3.transforms.1", 6: "4.transforms.1"}.items():
        theirs = f"{flow}.transformations.{i}.transform.W"
        entries.append(Entry(theirs, f"transforms.transforms.{ours}.transform.weight"))
    for i, step in ((3, 3), (5, 4)):
        theirs, ours = f"{flow}.transformations.{i}.nn", f"transforms.transforms.{step}.transforms.0.net"
        entries += golden.dense_entries(theirs, ours, depth=2, gated=True)
    for theirs, ours in ((1, 0), (3, 2)):
        names = {"nn.2.conv": "last"} | {f"nn.{i}.nn.{j}": f"layers.{i}.{j}" for i in (0, 1) for j in (0, 2)}
        entries += [
            Entry(f"context_net.{theirs}.{one}.{kind}", f"context_net.{ours}.{other}.{kind}")
            for one, other in names.items()
            for kind in ("weight", "bias")
        ]
    entries += [Entry(f"context_net.2.{kind}", f"context_net.1.{kind}") for kind in ("weight", "bias")]
    golden.load_parameters(q, tensors, entries)
    q.eval()
    x = tensors["x"].to(torch.uint8)
    assert torch.equal(x.float(), tensors["x"].float())
    context = q.context(x)
    torch.testing.assert_close(context, tensors["context"], rtol=0, atol=1e-5)
    u, log_q = q.transform(tensors["eps"], context)
    torch.testing.assert_close(u, tensors["u"], rtol=0, atol=1e-5)
    torch.testing.assert_close(log_q, tensors["log_qu"], rtol=1e-5, atol=1e-4)
