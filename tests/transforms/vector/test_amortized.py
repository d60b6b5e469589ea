import pytest
import torch

from lightning_flows.errors import InputTypeError, ShapeError, UsageError
from lightning_flows.functional.recompute import Recomputation
from lightning_flows.nets import MADE, SylvesterFunction
from lightning_flows.transforms import (
    Amortized,
    GeneralizedSylvester,
    InverseAutoregressive,
    Invert,
    LinearCompose,
    LinearExponential,
    MaskedAutoregressive,
    OriginalSylvester,
    Planar,
    Reversal,
    VectorHouseholder,
)
from tests.transforms.cases import CASES, build, draw, perturb

X = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
H = torch.randn(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(4))


@torch.no_grad()
def test_each_layer_gets_its_part_of_the_linear_map():
    layers = [Planar(3, amortized=True), Reversal(3), OriginalSylvester(3, columns=2, amortized=True)]
    flow = perturb(Amortized(layers, 5).double(), X, H)
    values = flow.linear(H)
    assert values.shape == (4, 7 + (4 + 3 * 2 + 6))
    z, total = layers[0](X, values[:, :7])
    z, log_det = layers[2](z.flip(1), values[:, 7:])
    torch.testing.assert_close(flow(X, H), (z, total + log_det), rtol=0, atol=1e-13)


@torch.no_grad()
def test_shared_values_come_first_and_are_the_same_for_all_layers():
    layers = [InverseAutoregressive(3, 6, context=True), Reversal(3), Planar(3, amortized=True)]
    flow = perturb(Amortized(layers, 5, shared=6).double(), X, H)
    values = flow.linear(H)
    assert values.shape == (4, 6 + 1)
    first, _, last = flow.contexts(H)
    assert torch.equal(first, values[:, :6])
    assert torch.equal(last, values)


@torch.no_grad()
def test_a_sylvester_layer_takes_the_context_of_its_function_before_that_of_its_basis():
    net = MADE(3, 4, num_outputs=4, context=True)
    basis = LinearCompose([VectorHouseholder(3, num_reflections=2, amortized=True), LinearExponential(3)])
    layer = GeneralizedSylvester(basis, SylvesterFunction(net)).double()
    context = torch.randn(4, 4 + 6, dtype=torch.float64)
    perturb(layer, X, context)
    operator = basis.operator_for(context[:, 4:])
    y = operator.matmul(X)
    f, diagonal = layer.function(y, context[:, :4])
    expected = X + operator.solve(f), (1 + diagonal).log().sum(1)
    torch.testing.assert_close(layer(X, context), expected, rtol=0, atol=1e-13)


AMORTIZED = [name for name, case in CASES.items() if len(case.event_shape) == 1 and case.context_channels]


@pytest.mark.parametrize("name", AMORTIZED)
def test_gradient_of_the_context(name):
    transform, (x, context) = build(CASES[name]).requires_grad_(False), draw(CASES[name], batch=2)
    z = transform(x, context)[0].detach()
    context.requires_grad_()
    for function, value in ((transform, x), (transform.inverse, z)):
        assert torch.autograd.gradcheck(
            lambda c, f=function, v=value: f(v, c), context, fast_mode=True, check_undefined_grad=False
        )


@pytest.mark.parametrize("name", AMORTIZED)
@torch.no_grad()
def test_a_missing_or_wrong_context_is_an_error(name):
    transform, (x, context) = build(CASES[name]), draw(CASES[name])
    n = CASES[name].context_channels
    expected = rf"expected a context of shape \(3, {n}\); got "
    for function in (transform, transform.inverse, transform.decode):
        with pytest.raises(ShapeError, match=expected + "NoneType"):
            function(x)
        with pytest.raises(ShapeError, match=expected + rf"shape \(3, {n + 1}\)"):
            function(x, torch.cat([context, context[:, :1]], dim=1))
        with pytest.raises(ShapeError, match=expected + rf"shape \(1, {n}\)"):
            function(x, context[:1])
        with pytest.raises(InputTypeError, match=r"context of torch\.float64 on cpu; got torch\.float32"):
            function(x, context.float())


def test_recomputation_gives_the_same_gradients():
    gradients = []
    for recompute in (None, Recomputation()):
        torch.manual_seed(0)
        flow = Amortized([Planar(3, amortized=True), InverseAutoregressive(3, 7, context=True)], 5, shared=7).double()
        flow.recompute = recompute
        h = H.clone().requires_grad_()
        z, log_det = flow.train()(X, h)
        (z.sin().sum() + log_det.sum()).backward()
        gradients.append([h.grad, *(parameter.grad for parameter in flow.parameters())])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_layers_with_too_few_parameters_for_the_shared_ones():
    with pytest.raises(UsageError, match="expected layers with at least 9 parameters; got 7"):
        Amortized([Planar(3, amortized=True)], 5, shared=9)
    with pytest.raises(UsageError, match="expected context_features of at least 1; got 0"):
        Amortized([Planar(3, amortized=True)], 0)


@torch.no_grad()
def test_layers_without_parameters_per_sample_ignore_a_context():
    layer = MaskedAutoregressive(3, 4).double()
    torch.testing.assert_close(layer(X, H), layer(X), rtol=0, atol=0)


def test_the_parameters_of_an_inverted_layer():
    h = torch.randn(4, 3)
    flow = Amortized([Invert(Planar(2, amortized=True))], 3)
    assert flow.linear.out_features == Planar(2, amortized=True).num_parameters
    x = torch.randn(4, 2)
    torch.testing.assert_close(flow(flow.inverse(x, h)[0], h)[0], x, rtol=0, atol=1e-4)
