"""Parity of priors and whole models with the authors' implementation."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_flows.distributions import DiagonalGaussian, standard_normal_log_prob
from lightning_flows.flows import Flow, GlowFlow
from lightning_flows.functional.bits import bits_per_dim
from lightning_flows.nets import ConvNet, DenseNet, DenseSizes
from lightning_flows.transforms import ActNorm, AffineCoupling, Compose, Conv1x1, Squeeze
from tests import golden
from tests.golden import Entry
from tests.transforms import test_golden as layers

ELSEWHERE = {"dequant_flow_1x1", "iresblock"}
HERE = {"actnorm_init", "diagonal_gaussian", "splitprior", "flow_1x1", "coupling_model"}


def dense_coupling(channels: int) -> AffineCoupling:
    return AffineCoupling(channels, DenseNet(channels // 2, channels, DenseSizes(16, 3, 16)))


def flow_1x1() -> tuple[Flow, list[Entry]]:
    flow = GlowFlow((3, 16, 16), mixing="conv1x1", steps_per_level=2, net=DenseSizes(16, 3, 16))
    entries = [Entry("base.mu", "base.mean"), Entry("base.log_sigma", "base.log_scale")]
    entries.append(Entry("transformations.2.W", "levels.0.transforms.2.weight"))
    for i, ours in {3: "0.transforms.3", 5: "0.transforms.4", 9: "1.transforms.1", 11: "1.transforms.2"}.items():
        coupling, mixing = f"levels.{ours}.transforms.0", f"levels.{ours}.transforms.1"
        entries += golden.dense_entries(f"transformations.{i}.nn", f"{coupling}.net", depth=3, gated=True)
        entries.append(Entry(f"transformations.{i + 1}.W", f"{mixing}.weight"))
    entries += golden.dense_entries("transformations.7.transform.nn", "levels.0.transforms.5.net", depth=3, gated=True)
    return flow, entries


def coupling_model() -> tuple[Flow, list[Entry]]:
    found, entries = [], [Entry("base.mu", "base.mean"), Entry("base.log_sigma", "base.log_scale")]
    for channels in (12, 48):
        found.append(Squeeze())
        for _ in range(2):
            ours, theirs = f"levels.0.transforms.{len(found)}", f"transformations.{len(found)}"
            names = {"translation": "shift", "log_scale": "log_scale", "initialized": "initialized"}
            entries += [Entry(f"{theirs}.{one}", f"{ours}.{other}") for one, other in names.items()]
            entries.append(Entry(f"transformations.{len(found) + 1}.W", f"levels.0.transforms.{len(found) + 1}.weight"))
            place = len(found) + 2
            entries += golden.plain_entries(f"transformations.{place}.nn", f"levels.0.transforms.{place}.net")
            net = ConvNet(channels // 2, channels, hidden_channels=48)
            found += [ActNorm(channels), Conv1x1(channels), AffineCoupling(channels, net, bound=0.5, slope=1.0)]
    return Flow(Compose(found), DiagonalGaussian((48, 4, 4)), event_shape=(3, 16, 16)), entries


MODELS = {"flow_1x1": flow_1x1, "coupling_model": coupling_model}
BY_NAME = pytest.mark.parametrize("name", MODELS)


def open_model(name: str) -> tuple[nn.Module, dict[str, Tensor], dict[str, Any]]:
    tensors, config = golden.load(name)
    flow, entries = MODELS[name]()
    golden.load_parameters(flow, tensors, entries)
    return flow.eval(), tensors, config


def test_every_file_is_used():
    known = ELSEWHERE | HERE | layers.LAYERS.keys()
    assert golden.names() <= known
    assert known - golden.names() <= golden.LARGE
    for name in layers.LAYERS.keys() & golden.names():
        keys = golden.load(name)[0].keys()
        assert ("grad/x" in keys) == (name in layers.WITH_GRADIENTS)
        assert ("train/z" in keys) == (name in layers.WITH_TRAIN_MODE)


@BY_NAME
@torch.no_grad()
def test_trace(name):
    flow, tensors, config = open_model(name)
    x, total, i = tensors["v"], torch.zeros(len(tensors["v"])), 0
    for level in flow.levels:
        layers = [each for step in level.transforms for each in getattr(step, "transforms", [step])]
        for layer in layers:
            x, log_det = layer(x)
            total = total + log_det
            if layer is layers[-1] and level is not flow.levels[-1]:  # what the authors call a split prior
                x, noise = x.chunk(2, dim=1)
                total = total + standard_normal_log_prob(noise)
            torch.testing.assert_close(total, tensors[f"trace/ldj_{i:02d}"], rtol=1e-5, atol=1e-4)
            torch.testing.assert_close(x.flatten(1).mean(1), tensors[f"trace/mean_{i:02d}"], rtol=1e-5, atol=1e-5)
            i += 1
    assert i == len(config["layers"])
    torch.testing.assert_close(x, tensors["trace/z_final"], rtol=0, atol=1e-5)


@BY_NAME
@torch.no_grad()
def test_log_prob(name):
    flow, tensors, _ = open_model(name)
    log_prob = flow.log_prob(tensors["v"])
    torch.testing.assert_close(log_prob, tensors["log_pv"], rtol=1e-5, atol=0)
    torch.testing.assert_close(bits_per_dim(log_prob, 3 * 16 * 16), tensors["bpd"], rtol=1e-5, atol=0)
    log_prob = flow.double().log_prob(tensors["x"] + tensors["u"].double())
    torch.testing.assert_close(log_prob, tensors["log_pv64"], rtol=1e-8, atol=0)
    log_prob = flow.log_prob(tensors["v"].double())
    torch.testing.assert_close(log_prob, tensors["log_pv64_of_v32"], rtol=1e-8, atol=0)


@BY_NAME
@torch.no_grad()
def test_samples(name):
    flow, tensors, config = open_model(name)
    last = flow.base.mean + torch.exp(flow.base.log_scale) * tensors["sample/eps_0"]
    latents = (tensors["sample/eps_1"], last) if name == "flow_1x1" else last
    x = flow.decode(latents)
    tolerance = 4 * config["recon_max_abs_err"]
    torch.testing.assert_close(x, tensors["sample/x"], rtol=0, atol=tolerance)
    log_prob = flow.log_prob(x)
    torch.testing.assert_close(log_prob, tensors["sample/log_px_returned"], rtol=1e-5, atol=0)
    torch.testing.assert_close(log_prob, tensors["sample/log_px_inference"], rtol=1e-5, atol=0)
    v = flow.decode(flow.encode(tensors["v"]))
    torch.testing.assert_close(v, tensors["v"], rtol=0, atol=tolerance)
    torch.testing.assert_close(v, tensors["recon_v"], rtol=0, atol=tolerance)


@torch.no_grad()
def test_diagonal_gaussian():
    tensors, _ = golden.load("diagonal_gaussian")
    base = DiagonalGaussian((4, 8, 8))
    golden.load_parameters(base, tensors, [Entry("mu", "mean"), Entry("log_sigma", "log_scale")])
    torch.testing.assert_close(base.log_prob(tensors["x"]), tensors["log_px"], rtol=0, atol=1e-4)
    torch.testing.assert_close(base.log_prob(tensors["sample/x"]), tensors["sample/log_px"], rtol=0, atol=1e-4)
    # its log-density at given noise: the sample is mean + scale · noise
    expected = standard_normal_log_prob(tensors["sample/eps"]) - 64 * base.log_scale.sum()
    torch.testing.assert_close(base.log_prob(tensors["sample/x"]), expected, rtol=0, atol=1e-4)
    base = base.double()
    torch.testing.assert_close(base.log_prob(tensors["x"].double()), tensors["log_px64"], rtol=0, atol=1e-9)


@torch.no_grad()
def test_split_prior():
    tensors, _ = golden.load("splitprior")
    coupling = dense_coupling(4)
    golden.load_parameters(coupling, tensors, golden.dense_entries("transform.nn", "net", depth=3, gated=True))
    z, log_det = coupling(tensors["x"])
    kept, noise = z.chunk(2, dim=1)
    torch.testing.assert_close(kept, tensors["z"], rtol=0, atol=1e-5)
    torch.testing.assert_close(log_det + standard_normal_log_prob(noise), tensors["log_px2"], rtol=0, atol=1e-4)
    x, log_det = coupling.inverse(torch.cat([tensors["z"], tensors["sample/eps"]], dim=1))
    torch.testing.assert_close(x, tensors["sample/x"], rtol=0, atol=1e-5)
    log_prob = standard_normal_log_prob(tensors["sample/eps"]) - log_det
    torch.testing.assert_close(log_prob, tensors["sample/log_px2"], rtol=0, atol=1e-4)
    z, log_det = coupling.double()(tensors["x"].double())
    kept, noise = z.chunk(2, dim=1)
    torch.testing.assert_close(kept, tensors["z64"], rtol=0, atol=1e-9)
    torch.testing.assert_close(log_det + standard_normal_log_prob(noise), tensors["log_px2_64"], rtol=0, atol=1e-9)
