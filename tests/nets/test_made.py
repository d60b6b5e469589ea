import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from lightning_flows.errors import ShapeError, UsageError
from lightning_flows.nets import MADE, NormalizedLinear
from lightning_flows.testing.jacobian import jacobians
from tests.dense import norm
from tests.transforms.cases import perturb


def draw(net: MADE, batch: int = 4) -> tuple[torch.Tensor, ...]:
    y = torch.randn(batch, net.size, dtype=torch.float64)
    return (y, torch.randn(batch, net.width, dtype=torch.float64)) if net.num_parameters else (y,)


def made(*args, **kwargs) -> MADE:
    net = MADE(*args, **kwargs).double()
    return perturb(net, *draw(net), noise=0.5)


@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize("width", [1, 3, 4, 11])
@pytest.mark.parametrize(
    "options", [{}, {"depth": 0}, {"depth": 2, "context": True}, {"max_norm": 1.5}, {"reverse": True}]
)
def test_jacobian_is_strictly_triangular_and_every_input_but_the_last_is_used(size, width, options):
    net = made(size, width, num_outputs=3, **options)
    y, *context = draw(net, 20)
    for k in range(3):
        matrix = jacobians(lambda value, k=k: net(value, *context)[k], y)
        matrix = matrix.flip(1, 2) if net.reverse else matrix
        assert not torch.triu(matrix).any()
        assert (matrix.abs().amax((0, 1)) > 0).tolist() == [True] * (size - 1) + [False]


@pytest.mark.parametrize("context", [True, False])
def test_every_previous_value_matters_where_there_are_enough_units(context):
    net = made(4, 8, context=context)
    y, *c = draw(net, 30)
    seen = jacobians(lambda value: net(value, *c)[0], y).abs().amax(0) > 0
    assert torch.equal(seen, torch.ones(4, 4).tril(-1).bool())


@pytest.mark.parametrize("size", [1, 4])
def test_every_output_depends_on_the_context_and_every_parameter_is_used(size):
    net = made(size, 6, num_outputs=2, context=True)
    y, context = draw(net)
    for output in net(y, context):
        for i in range(size):
            point = context.clone().requires_grad_()
            (grad,) = torch.autograd.grad(net(y, point)[0][:, i].sum(), point)
            assert (grad.abs().amax(1) > 0).all()
        assert output.shape == y.shape
    sum(output.square().sum() for output in net(y, context)).backward()
    used = {name for name, p in net.named_parameters() if p.grad.abs().max() > 0}
    unused = {"layers.0.weight"} if size == 1 else set()
    assert used == {name for name, _ in net.named_parameters()} - unused


@pytest.mark.parametrize("activation", ["elu", "relu", "silu"])
def test_formula(activation):
    net = made(3, 5, context=True, activation=activation)
    y, context = draw(net)
    a = getattr(torch.nn.functional, activation)
    first, second, last = (*net.layers, net.outputs)
    h = a(y @ (first.weight * first.mask).T + first.bias) + context
    h = a(h @ (second.weight * second.mask).T + second.bias)
    expected = h @ (last.weight * last.mask).T + last.bias
    torch.testing.assert_close(torch.cat(list(net(y, context)), 1), expected, rtol=0, atol=1e-14)


def test_each_matrix_and_each_output_is_normalized_separately():
    net = made(4, 9, num_outputs=2, max_norm=0.7)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(5)
        net.outputs.weight[:4] *= 3
    perturb(net, *draw(net))
    for matrix in (*(layer.matrix() for layer in net.layers), *net.outputs.matrix().chunk(2)):
        assert norm(matrix) == pytest.approx(0.7, rel=1e-3)


@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize("width", [1, 3, 11])
@pytest.mark.parametrize(
    "options", [{}, {"depth": 0}, {"depth": 2, "context": True}, {"max_norm": 1.5, "reverse": True}]
)
def test_unrolled_equals_the_net_with_gradients(size, width, options):
    net = made(size, width, num_outputs=3, **options)
    y, *context = (value.requires_grad_() for value in draw(net))
    steps, outputs = net.bind_unrolled()(y, *context), {}
    previous = []
    for i in steps.order:
        outputs[i] = steps.outputs(*previous)
        previous = [y[:, i]]
    found, expected = torch.stack([outputs[i] for i in range(size)], 2), net.bind()(y, *context)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-13)
    inputs, weights = (y, *context, *net.parameters()), torch.randn_like(found)
    for one, other in zip(
        torch.autograd.grad((found * weights).sum(), inputs, allow_unused=True, materialize_grads=True),
        torch.autograd.grad((expected * weights).sum(), inputs, allow_unused=True, materialize_grads=True),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_unrolled_multiplies_no_more_than_one_pass():
    net = made(40, 200, depth=2, num_outputs=2)
    (y,) = draw(net)
    with FlopCounterMode(display=False) as one_pass:
        net(y)
    with FlopCounterMode(display=False) as unrolled:
        steps = net.bind_unrolled()(y)
        steps.outputs()
        for i in range(net.size - 1):
            steps.outputs(y[:, i])
    assert unrolled.get_total_flops() < 0.6 * one_pass.get_total_flops()  # what is masked is not multiplied


def test_matrices_are_evaluated_once(monkeypatch):
    net, calls = made(3, 5), []
    matrix = NormalizedLinear.matrix
    monkeypatch.setattr(NormalizedLinear, "matrix", lambda self, **k: calls.append(self) or matrix(self, **k))
    (y,) = draw(net)
    bound = net.bind()
    for _ in range(2):
        assert torch.equal(bound(y), bound(y))
    assert len(calls) == 3


@pytest.mark.parametrize(
    ("error", "make", "message"),
    [
        (UsageError, lambda: MADE(0, 4), "expected size of at least 1; got 0"),
        (UsageError, lambda: MADE(3, 0), "expected width of at least 1; got 0"),
        (UsageError, lambda: MADE(3, 4, depth=-1), "expected depth of at least 0; got -1"),
        (UsageError, lambda: MADE(3, 4, activation="tanh"), "expected an activation among elu, relu, silu; got 'tanh'"),
        (ShapeError, lambda: MADE(3, 4, context=True)(torch.zeros(2, 3)), r"context of shape \(2, 4\); got none"),
        (
            ShapeError,
            lambda: MADE(3, 4, context=True)(torch.zeros(2, 3), torch.zeros(1, 4)),
            r"expected a context of shape \(2, 4\); got shape \(1, 4\)",
        ),
    ],
)
def test_wrong_arguments(error, make, message):
    with pytest.raises(error, match=message):
        make()
