"""Library use besides the math: reports, compile, export, empty batches, clear errors."""

import copy
import re

import pytest
import torch
from torch import Tensor, nn

from lightning_flows.errors import InputTypeError
from lightning_flows.nets import ConvNet, LipschitzConvNet, SpectralNorm
from lightning_flows.transforms import (
    ActNorm,
    AffineCoupling,
    Bias,
    Compose,
    Conv1x1,
    ConvExponential,
    ConvSylvester,
    Flip,
    GeneralizedSylvester,
    GraphActNorm,
    GraphExponential,
    Householder,
    InverseReport,
    Invert,
    LogDetReport,
    Reshape,
    ResidualBlock,
    Squeeze,
    Standardize,
    Transform,
    VectorActNorm,
    Woodbury,
)
from tests.transforms.cases import CASES, SHAPE, build, draw

TABLE = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


@TABLE
@torch.no_grad()
def test_decode_is_the_inverse_without_its_log_determinant(case):
    transform, (x, *context) = build(case), draw(case)
    z, _ = transform(x, *context)
    torch.testing.assert_close(transform.decode(z, *context), transform.inverse(z, *context)[0], rtol=0, atol=1e-14)


@TABLE
@torch.no_grad()
def test_reported_methods_return_the_same_numbers_and_reports_per_sample(case):
    transform, (x, *context) = build(case), draw(case)
    z, _ = transform(x, *context)
    for name, value in (("forward", x), ("inverse", z)):
        *found, reports = getattr(transform, f"{name}_reported")(value, *context)
        for one, other in zip(found, getattr(transform, name)(value, *context), strict=True):
            assert torch.equal(one, other)
        for report in reports:
            assert isinstance(report, InverseReport | LogDetReport)
            assert all(field.shape == (len(x),) for field in report if isinstance(field, Tensor))
    iterative = [m for m in transform.modules() if isinstance(m, GeneralizedSylvester | ResidualBlock)]
    reports = transform.forward_reported(x, *context)[2] + transform.inverse_reported(z, *context)[2]
    assert sum(isinstance(report, InverseReport) for report in reports) == len(iterative)


@torch.no_grad()
def test_reports_of_a_composition_come_in_the_order_in_which_layers_run():
    blocks = [ResidualBlock(LipschitzConvNet(SHAPE, 4), eval_terms=n, exact_dims=0).eval() for n in (3, 5)]
    transform = Compose([blocks[0], Flip(), Invert(Invert(blocks[1]))])
    z, _, reports = transform.forward_reported(torch.randn(2, *SHAPE))
    assert [report.num_terms for report in reports] == [3, 5]
    *_, reports = transform.inverse_reported(z)
    assert [type(report) for report in reports] == [InverseReport, LogDetReport] * 2
    assert [report.num_terms for report in reports[1::2]] == [5, 3]
    assert not transform.train().forward_reported(z)[2]  # an estimate in train mode is random, and has no error


@TABLE
@pytest.mark.parametrize("mode", [True, False], ids=["train", "eval"])
def test_kernels_are_normalized_once_per_call(case, mode, monkeypatch):
    """A fixed-point iteration, its gradient and a log-determinant all use the same kernel."""
    transform, (x, *context) = build(case).train(mode), draw(case)
    norms = [module for module in transform.modules() if isinstance(module, SpectralNorm)]
    calls: list[int] = []
    forward = SpectralNorm.forward
    monkeypatch.setattr(SpectralNorm, "forward", lambda self, *a, **k: calls.append(id(self)) or forward(self, *a, **k))
    z = transform(x, *context)[0].detach()
    for method, value in ((transform.forward, x), (transform.inverse, z), (transform.decode, z)):
        calls.clear()
        found = method(value, *context)
        loss = sum(value.sum() for value in (found if isinstance(found, tuple) else (found,)))
        if loss.requires_grad:
            loss.backward()
        assert sorted(calls) == sorted(map(id, norms))


@TABLE
@pytest.mark.parametrize("mode", [True, False], ids=["train", "eval"])
def test_an_empty_batch_gives_empty_results(case, mode):
    transform, (x, *context) = build(case).train(mode), draw(case, batch=0)
    before = copy.deepcopy(transform.state_dict())
    z, log_det = transform(x, *context)
    back, inverse_log_det = transform.inverse(z, *context)
    assert z.shape == (0, *transform.output_shape(case.event_shape))
    assert back.shape == x.shape
    assert log_det.shape == inverse_log_det.shape == (0,)
    (z.sum() + log_det.sum() + back.sum()).backward() if z.requires_grad else None
    changed = [n for n, v in transform.state_dict().items() if not torch.equal(v, before[n])]
    assert all(name.endswith("spectral_norm.vector") for name in changed)


@TABLE
def test_another_dtype_or_device_is_an_error(case):
    transform, (x, *context) = build(case, dtype=torch.float32), draw(case)
    z = torch.randn(len(x), *transform.output_shape(case.event_shape), dtype=torch.float64)
    if not list(transform.parameters()):
        assert transform(x, *context)[0].dtype == torch.float64
        return
    for function, value in ((transform.forward, x), (transform.inverse, z), (transform.decode, z)):
        with pytest.raises(InputTypeError, match=r"expected torch\.float32, the dtype of the .*; got torch\.float64"):
            function(value, *context)
        with pytest.raises(InputTypeError, match=r"expected a tensor on cpu, the device of the flow; got one on meta"):
            function(value.float().to("meta"), *context)
    with pytest.raises(InputTypeError, match=r"expected a flow in float32 or float64; got torch\.bfloat16"):
        transform.bfloat16()(x.bfloat16(), *context)


def test_errors_name_what_was_expected_and_received():
    with pytest.raises(InputTypeError, match="expected a floating tensor; got list"):
        Conv1x1(2)([1.0])


# only a few are tested: each takes seconds to trace
TRACED = (
    "actnorm",
    "compose",
    "compose_context",
    "coupling_dense",
    "conv_sylvester",
    "mixing_emerging",
    "vector_amortized_shared",
)


@pytest.mark.parametrize("name", TRACED)
def test_a_training_step_compiles_as_one_graph(name):
    torch.compiler.reset()
    transform, (x, *context) = build(CASES[name]).train(), draw(CASES[name])
    twin = copy.deepcopy(transform)

    def loss(transform: Transform) -> Tensor:
        z, log_det = transform(x, *context)
        return (z.square().flatten(1).sum(1) / 2 - log_det).mean()

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    for model, function in ((transform, compiled), (twin, loss)):
        function(model).backward()
    for one, other in zip(transform.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", [name for name in TRACED if name not in ("conv_sylvester", "vector_amortized_shared")])
def test_an_inverse_without_iterations_compiles_as_one_graph(name):
    torch.compiler.reset()
    transform, (x, *context) = build(CASES[name]), draw(CASES[name])
    with torch.no_grad():
        z, _ = transform(x, *context)
        compiled = torch.compile(transform.inverse, fullgraph=True, backend="eager")(z, *context)
        torch.testing.assert_close(compiled, transform.inverse(z, *context), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", TRACED)
def test_exports_for_any_batch_size(name):
    transform, arguments = build(CASES[name]), draw(CASES[name])
    batch = torch.export.Dim("batch")
    program = torch.export.export(transform, arguments, dynamic_shapes=[{0: batch}] * len(arguments))
    others = draw(CASES[name], batch=5)
    torch.testing.assert_close(program.module()(*others), transform(*others), rtol=0, atol=1e-12)


def test_an_averaged_copy_is_the_layer_it_averages():
    """The copy is made before the first batch initializes the layer."""
    layer = Compose([ActNorm(4), ConvSylvester(SHAPE, 4)]).train()
    averaged = torch.optim.swa_utils.AveragedModel(
        layer, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.5), use_buffers=True
    )
    x = 3 + 5 * torch.randn(8, *SHAPE)
    for _ in range(3):
        layer(x)
        averaged.update_parameters(layer)
    assert averaged.module.transforms[0].initialized
    with torch.no_grad():
        expected = layer.eval()(x)
        averaged.train()(x + 100)  # is not initialized again
    torch.testing.assert_close(averaged.eval()(x), expected, rtol=1e-5, atol=1e-4)


REPRS = {
    "ActNorm((B, 4, H, W), initialized=False)": lambda: ActNorm(4),
    "Bias((B, 4, H, W))": lambda: Bias((4, 1, 1)),
    "Conv1x1((B, 4, H, W))": lambda: Conv1x1(4),
    "Flip((B, C, H, W))": Flip,
    "Squeeze()": Squeeze,
    "Householder((B, 4, H, W), num_reflections=2)": lambda: Householder(4, num_reflections=2),
    "Woodbury((B, 4, 3, 2), rank=5)": lambda: Woodbury(SHAPE, rank=5),
    "Reshape((4, 3, 2) -> (24, 1, 1))": lambda: Reshape(SHAPE, (24, 1, 1)),
    "Standardize((B, 2))": lambda: Standardize(2),
    "VectorActNorm((B, 2), initialized=False)": lambda: VectorActNorm(2),
    "GraphActNorm((B, N, 2), initialized=False)": lambda: GraphActNorm(2),
    "GraphExponential((B, N, 2), max_neighbors=4)": lambda: GraphExponential(2, max_neighbors=4),
}


@pytest.mark.parametrize(("text", "make"), REPRS.items(), ids=REPRS.keys())
def test_repr_shows_shapes_and_sizes(text, make):
    assert repr(make()) == text


def test_repr_of_containers_shows_their_layers():
    layer = Compose([Squeeze(), ConvSylvester((4, 2, 2), 8), AffineCoupling(4, ConvNet(2, 4, hidden_channels=3))])
    text = re.sub(r"\s+", " ", repr(layer))
    for part in (
        "ConvExponential( (B, 4, 2, 2), kernel_size=3 (spectral_norm): SpectralNorm(max_norm=0.95) )",
        "(input): MaskedConv2d( (8, 4, 2, 3) (spectral_norm): SpectralNorm(max_norm=1.5) )",
        "SpectralNorm(max_norm=1.5, groups=4)",
        "AffineCoupling( (B, 4, H, W), bound=2.0, slope=0.5 (net): ConvNet(",
    ):
        assert part in text, text


class Scale(Transform):
    """A custom transform that returns a scalar log-determinant."""

    def __init__(self) -> None:
        super().__init__((2,))
        self.log_scale = nn.Parameter(torch.tensor(0.5))

    def forward(self, x, context=None):
        return x * self.log_scale.exp(), 2 * self.log_scale

    def inverse(self, z, context=None):
        return z * (-self.log_scale).exp(), -2 * self.log_scale


def test_a_custom_transform_gets_checks_and_per_sample_log_determinants():
    layer = Compose([Scale(), Flip1d(), Scale()])
    z, log_det = layer(torch.ones(3, 2))
    assert log_det.tolist() == [2.0] * 3
    assert layer.inverse(z)[1].tolist() == [-2.0] * 3
    with pytest.raises(ValueError, match=r"^Scale: expected shape \(B, 2\); got \(3, 4\)"):
        layer(torch.ones(3, 4))
    assert layer.forward_reported(z)[2] == []


class Flip1d(Transform):
    volume_preserving = True

    def forward(self, x, context=None):
        return x.flip(1), 0.0

    def inverse(self, z, context=None):
        return z.flip(1), 0.0


def test_a_linear_map_keeps_its_kernel_between_products():
    """An operator is a value: later power-iteration steps do not change it."""
    layer, x = ConvExponential((2, 3, 3)).train(), torch.randn(1, 2, 3, 3)
    with torch.no_grad():
        layer.weight.normal_()
        operator = layer.operator()
        z = operator.matmul(x)
        layer(x)
        torch.testing.assert_close(operator.solve(z), x, rtol=0, atol=1e-5)
