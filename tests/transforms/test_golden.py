"""Parity of each layer with the authors' implementation."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from lightning_flows.flows import sylvester_layer
from lightning_flows.nets import ConvNet, DenseNet, DenseSizes
from lightning_flows.transforms import (
    ActNorm,
    Affine,
    AffineCoupling,
    Conv1x1,
    ConvExponential,
    ConvSylvester,
    Flip,
    Householder,
    Squeeze,
    Transform,
    mixing_layer,
)
from tests import golden
from tests.golden import Entry


class Layer(NamedTuple):
    """How to build our layer for a file, and the authors' names of its parameters."""

    build: Callable[[dict[str, Any]], Transform]
    entries: list[Entry] = []  # noqa: RUF012
    effective: dict[str, str] = {}  # noqa: RUF012
    spectral: bool = False


def dense(context_channels: int = 0, *, gated: bool = True) -> Layer:
    options = {"gated": gated, "context_channels": context_channels}
    return Layer(
        lambda config: AffineCoupling(4, DenseNet(2, 4, DenseSizes(16, 3, 16), **options)),
        golden.dense_entries("nn", "net", depth=3, gated=gated),
    )


def exponential(entry: Entry, shape: tuple[int, int, int]) -> Layer:
    return Layer(
        lambda config: mixing_layer("conv_exponential", shape),
        [
            Entry("pre_transform_bias", "transforms.0.bias"),
            entry,
            Entry("kernel_orig", "transforms.2.weight"),
            Entry("kernel_v", "transforms.2.spectral_norm.vector"),
            Entry("post_transform_bias", "transforms.3.bias"),
        ],
        {"kernel": "transforms.2"},
        spectral=True,
    )


HEAD_KERNELS = {f"linear_{head}.weight": f"function.net.heads:{i}" for i, head in enumerate(golden.HEADS)}
NET_KERNELS = {"nn.0.weight": "function.net.input", "nn.2.weight": "function.net.hidden", **HEAD_KERNELS}

LAYERS = {
    "actnorm": Layer(
        lambda config: ActNorm(4),
        [Entry("translation", "shift"), Entry("log_scale", "log_scale"), Entry("initialized", "initialized")],
    ),
    "normalize": Layer(lambda config: Affine(config["translation"], config["scale"])),
    "squeeze": Layer(lambda config: Squeeze()),
    "flip2d": Layer(lambda config: Flip()),
    "conv1x1": Layer(lambda config: Conv1x1(4), [Entry("W", "weight")]),
    "conv1x1_householder": Layer(
        lambda config: Householder(4, num_reflections=config["n_reflections"]), [Entry("V", "vectors")]
    ),
    "convexp_c4_8": exponential(Entry("conv1x1.W", "transforms.1.weight"), (4, 8, 8)),
    "convexp_c66_householder": exponential(Entry("conv1x1.V", "transforms.1.vectors"), (66, 4, 4)),
    "emerging_c4_8": Layer(
        lambda config: mixing_layer("emerging", (4, 8, 8)),
        [
            Entry("transformations.0.W", "transforms.0.weight"),
            Entry("transformations.1.weight", "transforms.1.weight"),
            Entry("transformations.1.bias", "transforms.2.bias"),
            Entry("transformations.3.weight", "transforms.3.weight"),
            Entry("transformations.3.bias", "transforms.4.bias"),
        ],
    ),
    "woodbury_c4_8": Layer(
        lambda config: mixing_layer("woodbury", config["input_size"], woodbury_rank=config["low_rank"]),
        [
            Entry("conv1x1.W", "transforms.0.weight"),
            Entry("woodbury_spatial.U", "transforms.1.left"),
            Entry("woodbury_spatial.V", "transforms.1.right"),
        ],
    ),
    "plain_coupling": Layer(
        lambda config: AffineCoupling(4, ConvNet(2, 4, hidden_channels=32), bound=0.5, slope=1.0),
        golden.plain_entries("nn", "net"),
    ),
    "coupling_dense": dense(),
    "coupling_dense_nogate": dense(gated=False),
    "coupling_dense_context": dense(5),
    "sylvester_c4_8": Layer(
        lambda config: ConvSylvester((4, 8, 8), 32),
        [
            Entry("conv1x1.V", "basis.transforms.0.vectors"),
            Entry("kernel_orig", "basis.transforms.1.weight"),
            Entry("kernel_v", "basis.transforms.1.spectral_norm.vector"),
            *golden.autoregressive_entries("function.net"),
        ],
        {"kernel": "basis.transforms.1", **NET_KERNELS},
        spectral=True,
    ),
    "ablation_nobasis_c4_8": Layer(
        lambda config: sylvester_layer((4, 8, 8), 32, ablation="no_basis"),
        golden.autoregressive_entries("function.net"),
        NET_KERNELS,
        spectral=True,
    ),
}
LAYERS["ablation_nogeneralized_c4_8"] = Layer(
    lambda config: sylvester_layer((4, 8, 8), 32, ablation="no_autoregressive"),
    [
        Entry("conv1x1.V", "basis.transforms.0.vectors"),
        Entry("kernel_orig", "basis.transforms.1.weight"),
        Entry("kernel_v", "basis.transforms.1.spectral_norm.vector"),
        Entry("d", "function.weight"),
        Entry("diag1", "function.diagonal1"),
        Entry("diag2", "function.diagonal2"),
        Entry("b", "function.bias"),
    ],
    {"kernel": "basis.transforms.1"},
    spectral=True,
)
WITH_GRADIENTS = {"convexp_c4_8", "coupling_dense", "plain_coupling", "sylvester_c4_8"}
WITH_TRAIN_MODE = {"convexp_c4_8", "sylvester_c4_8", "ablation_nobasis_c4_8", "ablation_nogeneralized_c4_8"}
BY_NAME = pytest.mark.parametrize("name", LAYERS)


def open_layer(name: str, dtype: torch.dtype = torch.float32) -> tuple[Transform, dict[str, Tensor], dict[str, Any]]:
    """Our layer with the authors' parameters in eval mode, the file's tensors, and its configuration."""
    tensors, config = golden.load(name)
    transform = LAYERS[name].build(config)
    golden.load_parameters(transform, tensors, LAYERS[name].entries)
    return transform.to(dtype).eval(), tensors, config


def arguments(tensors: dict[str, Tensor], dtype: torch.dtype) -> list[Tensor]:
    return [tensors[key].to(dtype) for key in ("x", "context") if key in tensors]


def close(ours: Tensor, theirs: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(ours.detach().double(), theirs.double(), rtol=0, atol=tolerance)


@BY_NAME
@torch.no_grad()
def test_float32(name):
    transform, tensors, _ = open_layer(name)
    z, log_det = transform(*arguments(tensors, torch.float32))
    close(z, tensors["z"], 1e-5)
    close(log_det, tensors["ldj"], 1e-4)


@BY_NAME
@torch.no_grad()
def test_float64(name):
    transform, tensors, _ = open_layer(name, torch.float64)
    z, log_det = transform(*arguments(tensors, torch.float64))
    # the authors keep log 256 in float32; and of a power iteration that has not settled to the last digit the one
    # vector kept here gives a norm half a step ahead of theirs
    exact = not LAYERS[name].spectral and name != "normalize"
    if "z64" in tensors:
        close(z, tensors["z64"], 1e-9 if exact else 1e-6)
        close(log_det, tensors["ldj64"], 1e-9 if exact else 1e-5 if LAYERS[name].spectral else 1e-4)
    if "ldj_bruteforce64" in tensors:
        close(log_det, tensors["ldj_bruteforce64"], 1e-9 if exact else 1e-5)


@BY_NAME
@torch.no_grad()
def test_inverse(name):
    transform, tensors, config = open_layer(name)
    if (
        "recon" not in tensors
    ):  # the authors have no inverse of this layer, which amplifies the round-off of a float32 z
        transform, x = transform.double(), tensors["x"].double()
        z, log_det = transform(x)
        back, inverse_log_det = transform.inverse(z)
        close(back, x, 1e-10)
        close(inverse_log_det, -log_det, 1e-9)
        return
    context = arguments(tensors, torch.float32)[1:]
    x, log_det = transform.inverse(tensors["z"], *context)
    close(x, tensors["x"], max(1e-5, 2 * config.get("recon_max_abs_err", 0)))
    close(x, tensors["recon"], max(1e-5, 2 * config.get("recon_max_abs_err", 0)))
    close(log_det, -tensors["ldj"], 1e-4)  # where "ldj_reverse" differs, the authors have the wrong sign


@pytest.mark.parametrize("name", sorted(WITH_GRADIENTS))
def test_gradients(name):
    transform, tensors, _ = open_layer(name)
    x = tensors["x"].requires_grad_()
    z, log_det = transform(x)
    loss = z.square().sum() / 2 - log_det.sum()
    loss.backward()
    assert loss.item() == pytest.approx(tensors["loss"].item(), rel=1e-5)
    pairs = {"x": (x.grad, tensors["grad/x"])}
    for entry in LAYERS[name].entries:
        key = f"grad/{entry.theirs}"
        if key in tensors:
            ours = entry.cut(golden.gradient(transform, entry.ours))
            pairs[entry.theirs] = ours, entry.convert(tensors[key], ours)
            if ours.ndim == 4 and ours.shape[2] == 2:
                assert not tensors[key][:, :, 0].any()  # the row that our kernel omits
    assert len(pairs) == sum(key.startswith("grad/") for key in tensors)
    for ours, theirs in pairs.values():
        close(ours, theirs, 1e-4 * theirs.abs().max().item())


@pytest.mark.parametrize("name", sorted(WITH_GRADIENTS))
def test_gradient_of_the_input_in_float64(name):
    transform, tensors, _ = open_layer(name, torch.float64)
    x = tensors["x"].double().requires_grad_()
    z, log_det = transform(x)
    (z.square().sum() / 2 - log_det.sum()).backward()
    close(x.grad, tensors["grad64/x"], 1e-6 * tensors["grad64/x"].abs().max().item())


SPECTRAL = pytest.mark.parametrize("name", [name for name, layer in LAYERS.items() if layer.spectral])


@SPECTRAL
@torch.no_grad()
def test_kernels(name):
    transform, tensors, _ = open_layer(name)
    for theirs, ours in LAYERS[name].effective.items():
        path, _, part = ours.partition(":")
        kernel = transform.get_submodule(path).kernel()
        kernel = kernel.chunk(4)[int(part)] if part else kernel
        expected = tensors[f"effective/{theirs}"]
        close(kernel, expected[:, :, -kernel.shape[2] :], 1e-5)
        if kernel.shape[2] == 2:
            assert not expected[:, :, 0].any()


@pytest.mark.parametrize("name", sorted(WITH_TRAIN_MODE))
@torch.no_grad()
def test_train_mode(name):
    transform, tensors, config = open_layer(name)
    for module in transform.modules():
        if isinstance(module, ConvExponential):
            module.num_terms = config.get("n_terms_train", config.get("terms_train"))
    z, log_det = transform.train()(tensors["x"])
    close(z, tensors["train/z"], 1e-5)
    close(log_det, tensors["train/ldj"], 1e-4)


@torch.no_grad()
def test_actnorm_starts_from_the_first_batch():
    tensors, _ = golden.load("actnorm_init")
    transform = ActNorm(4).train()
    z, log_det = transform(tensors["x"])
    close(z, tensors["z"], 1e-5)
    close(log_det, tensors["ldj"], 1e-4)
    close(transform.shift, tensors["param/translation"], 1e-6)
    close(transform.log_scale, tensors["param/log_scale"], 1e-6)
