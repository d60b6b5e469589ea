"""The contract of every transform, in float64 on small events with perturbed parameters."""

import copy
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from lightning_flows.transforms import Transform
from tests.dense import slogdets
from tests.transforms.cases import CASES, Case, build, draw

TABLE = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
DIRECT = pytest.mark.parametrize(
    "case", [pytest.param(case, id=name) for name, case in CASES.items() if not case.inverted]
)


check_gradient = partial(torch.autograd.gradcheck, fast_mode=True, check_undefined_grad=False)


def latent(transform: Transform, x: Tensor, *context: Tensor) -> Tensor:
    with torch.no_grad():
        return transform(x, *context)[0]


def directions(case: Case) -> list[tuple[Callable[..., tuple[Tensor, Tensor]], Tensor, list[Tensor]]]:
    """Forward and inverse, each with its input and the context."""
    transform, (x, *context) = build(case), draw(case)
    return [(transform.forward, x, context), (transform.inverse, latent(transform, x, *context), context)]


@TABLE
def test_round_trip(case):
    transform, (x, *context) = build(case), draw(case)
    z, log_det = transform(x, *context)
    back, inverse_log_det = transform.inverse(z, *context)
    torch.testing.assert_close(back, x, rtol=0, atol=1e-11)
    torch.testing.assert_close(inverse_log_det, -log_det, rtol=0, atol=1e-10)

    start = torch.randn_like(z)
    x, log_det = transform.inverse(start, *context)
    back, forward_log_det = transform(x, *context)
    torch.testing.assert_close(back, start, rtol=0, atol=1e-11)
    torch.testing.assert_close(forward_log_det, -log_det, rtol=0, atol=1e-10)


@TABLE
def test_log_det_matches_the_jacobian(case):
    transform, (x, *context) = build(case), draw(case)
    expected = slogdets(lambda value: transform(value, *context)[0], x)
    torch.testing.assert_close(transform(x, *context)[1].detach(), expected, rtol=0, atol=1e-8)


@TABLE
def test_inverse_log_det_matches_the_inverse_jacobian(case):
    transform, (x, *context) = build(case), draw(case)
    z = torch.randn_like(latent(transform, x, *context))
    expected = slogdets(lambda value: transform.inverse(value, *context)[0], z)
    torch.testing.assert_close(transform.inverse(z, *context)[1].detach(), expected, rtol=0, atol=1e-8)


@TABLE
def test_parameters_have_moved(case):
    """Otherwise the other tests would be vacuous."""
    transform, (x, *context) = build(case), draw(case)
    z, _ = transform(x, *context)
    assert not list(transform.parameters()) or (z - x.reshape(z.shape)).abs().max() > 1e-2


@TABLE
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shapes_and_dtypes(case, dtype):
    transform, (x, *context) = build(case, dtype=dtype), draw(case, dtype=dtype)
    z, log_det = transform(x, *context)
    x_back, inverse_log_det = transform.inverse(z, *context)
    assert z.shape[1:] == transform.output_shape(case.event_shape)
    assert x_back.shape == x.shape
    for value in (log_det, inverse_log_det):
        assert value.shape == (x.shape[0],)
    assert {value.dtype for value in (z, x_back, log_det, inverse_log_det)} == {dtype}


@TABLE
@torch.no_grad()
def test_log_det_has_its_own_storage(case):
    for function, value, context in directions(case):
        log_det = function(value, *context)[1]
        assert log_det.stride() == (1,)
        assert log_det.untyped_storage().nbytes() == log_det.numel() * log_det.element_size()
        expected = log_det.clone()
        log_det.add_(1)  # must not change the transform
        assert torch.equal(function(value, *context)[1], expected)


@TABLE
@torch.no_grad()
def test_strided_layouts(case):
    for function, value, context in directions(case):
        expected = function(value, *context)
        spread = torch.zeros(*value.shape[:-1], 2 * value.shape[-1], dtype=value.dtype)[..., ::2].copy_(value)
        transposed = value.transpose(0, -1).contiguous().transpose(0, -1)
        assert not spread.is_contiguous()
        channels_last = value.to(memory_format=torch.channels_last) if value.ndim == 4 else value
        for layout in (spread, transposed, channels_last):
            torch.testing.assert_close(function(layout, *context), expected, rtol=0, atol=1e-12)


@TABLE
@torch.no_grad()
def test_samples_do_not_mix(case):
    """A batch of one equals the sample's result in a larger batch."""
    for function, value, context in directions(case):
        whole = function(value, *context)
        alone = function(value[1:2], *[c[1:2] for c in context])
        torch.testing.assert_close(alone, tuple(v[1:2] for v in whole), rtol=0, atol=1e-12)


@TABLE
def test_gradient_of_the_input(case):
    transform, (x, *context) = build(case).requires_grad_(False), draw(case, batch=2)
    z = latent(transform, x, *context)
    assert torch.autograd.gradcheck(
        lambda value: transform(value, *context), x.requires_grad_(), check_undefined_grad=False
    )
    assert torch.autograd.gradcheck(
        lambda value: transform.inverse(value, *context), z.requires_grad_(), check_undefined_grad=False
    )


@TABLE
@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_gradient_of_each_parameter(case, direction):
    transform, (x, *context) = build(case), draw(case, batch=2)
    function = getattr(transform, direction)
    value = x if direction == "forward" else latent(transform, x, *context)

    def loss(*_: Tensor) -> Tensor:
        out, log_det = function(value, *context)
        return (torch.sin(out).sum() - log_det.sum()).reshape(1)

    parameters = dict(transform.named_parameters())
    assert not parameters or check_gradient(loss, tuple(parameters.values()))
    if parameters:
        loss().backward()
    for name, parameter in parameters.items():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0 or name in case.inert, name


@TABLE
@torch.no_grad()
def test_eval_mode_is_pure(case):
    transform, (x, *context) = build(case), draw(case)
    before = copy.deepcopy(transform.state_dict())
    z, log_det = transform(x, *context)
    back, inverse_log_det = transform.inverse(z, *context)
    again = *transform(x, *context), *transform.inverse(z, *context)
    assert all(map(torch.equal, again, (z, log_det, back, inverse_log_det)))
    assert_same_state(transform.state_dict(), before)


@DIRECT
def test_train_mode_changes_only_power_iterations(case):
    transform, (x, *context) = build(case).train(), draw(case)
    before = copy.deepcopy(transform.state_dict())
    z, _ = transform(x, *context)
    after = transform.state_dict()
    changed = [name for name, value in after.items() if not torch.equal(value, before[name])]
    assert all(name.endswith("spectral_norm.vector") for name in changed), changed
    before = copy.deepcopy(after)
    in_train_mode = transform.inverse(z, *context)
    assert_same_state(transform.state_dict(), before)
    torch.testing.assert_close(in_train_mode, transform.eval().inverse(z, *context), rtol=0, atol=0)


def assert_same_state(state: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert state.keys() == other.keys()
    for name, value in state.items():
        assert torch.equal(value, other[name]), name


@TABLE
@torch.no_grad()
def test_state_dict_loads_into_a_fresh_instance(case):
    transform, (x, *context) = build(case), draw(case)
    torch.manual_seed(7)
    fresh = case.build().double().eval()
    fresh.load_state_dict(transform.state_dict())
    assert_same_state(fresh.state_dict(), transform.state_dict())
    for one, other in zip(fresh(x, *context), transform(x, *context), strict=True):
        assert torch.equal(one, other)


@TABLE
def test_deepcopy_after_a_training_step(case):
    transform, (x, *context) = build(case).train(), draw(case)
    parameters = list(transform.parameters())
    z, log_det = transform(x, *context)
    if parameters:
        (z.square().sum() - log_det.sum()).backward()
        torch.optim.SGD(parameters, lr=1e-3).step()
    transform.inverse(z, *context)
    twin = copy.deepcopy(transform)
    for one, other in zip(twin.eval()(x, *context), transform.eval()(x, *context), strict=True):
        assert torch.equal(one, other)
    shared = {value.data_ptr() for value in twin.state_dict().values()}
    assert shared.isdisjoint(value.data_ptr() for value in transform.state_dict().values())


@DIRECT
@pytest.mark.parametrize("mode", [True, False], ids=["train", "eval"])
def test_meta_device(case, mode):
    """All tensors are on the same device, and no value is read from it."""
    transform = build(case).to("meta").train(mode)
    x, *context = (argument.to("meta") for argument in draw(case))
    z, log_det = transform(x, *context)
    assert z.device.type == log_det.device.type == "meta"
    assert log_det.shape == (x.shape[0],)


# a Sylvester layer takes seconds to trace, so only one is tested
COMPILED = [name for name, case in CASES.items() if not (case.inverted or "sylvester_" in name)]


@pytest.mark.parametrize("name", COMPILED)
def test_compiles_as_one_graph(name):
    torch.compiler.reset()
    transform, arguments = build(CASES[name]).train(), draw(CASES[name])
    twin = copy.deepcopy(transform)
    compiled = torch.compile(transform, fullgraph=True, backend="eager")
    for _ in range(2):
        torch.testing.assert_close(compiled(*arguments), twin(*arguments), rtol=0, atol=1e-12)
    assert_same_state(transform.state_dict(), twin.state_dict())


@TABLE
@torch.no_grad()
def test_autocast_keeps_float32(case):
    transform, (x, *context) = build(case, dtype=torch.float32), draw(case, dtype=torch.float32)
    plain_z, plain_log_det = transform(x, *context)
    with torch.autocast("cpu", torch.bfloat16):
        z, log_det = transform(x, *context)
        back, inverse_log_det = transform.inverse(z, *context)
    assert {value.dtype for value in (z, log_det, back, inverse_log_det)} == {torch.float32}
    torch.testing.assert_close(z, plain_z, rtol=0.05, atol=0.05)
    torch.testing.assert_close(log_det, plain_log_det, rtol=0.05, atol=0.1)
    torch.testing.assert_close(back, x, rtol=0, atol=1e-4)
    torch.testing.assert_close(inverse_log_det, -log_det, rtol=0, atol=1e-3)
