"""The contract of every transform, in float64 on small events with perturbed parameters."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lightning_flows.testing import check_transform
from tests.transforms.cases import CASES, Case, build, draw

TABLE = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
DIRECT = pytest.mark.parametrize(
    "case", [pytest.param(case, id=name) for name, case in CASES.items() if not case.inverted]
)


def directions(case: Case) -> list[tuple[Callable[..., tuple[Tensor, Tensor]], Tensor, list[Tensor]]]:
    """Forward and inverse, each with its input and the context."""
    transform, (x, *context) = build(case), draw(case)
    return [(transform.forward, x, context), (transform.inverse, transform(x, *context)[0].detach(), context)]


@TABLE
def test_check_transform(case):
    transform, (x, *context) = build(case), draw(case)
    z = torch.randn(len(x), *transform.output_shape(case.event_shape), dtype=x.dtype)
    skip = {"meta"} if case.inverted else set()
    check_transform(transform, x, *context, z=z, build=case.build, skip=skip, inverse_tolerance=1e-11 * case.condition)


@TABLE
def test_every_parameter_gets_a_gradient(case):
    for function, value, context in directions(case):
        z, log_det = function(value, *context)
        loss = torch.sin(z).sum() - log_det.sum()
        loss.backward() if loss.requires_grad else None
        for name, parameter in function.__self__.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.abs().max() > 0 or name in case.inert, name
            parameter.grad = None


@TABLE
def test_parameters_have_moved(case):
    """Otherwise the other tests would be vacuous."""
    transform, (x, *context) = build(case), draw(case)
    z, _ = transform(x, *context)
    assert not list(transform.parameters()) or (z - x.reshape(z.shape)).abs().max() > 1e-2


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


@DIRECT
def test_training_on_the_meta_device(case):
    """No value is read from the device."""
    x, *context = (argument.to("meta") for argument in draw(case))
    z, log_det = build(case).to("meta").train()(x, *context)
    assert z.device.type == log_det.device.type == "meta"


def assert_same_state(state: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert state.keys() == other.keys()
    for name, value in state.items():
        assert torch.equal(value, other[name]), name


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
        z_again, log_det_again = transform(back, *context)
    assert {value.dtype for value in (z, log_det, back, inverse_log_det)} == {torch.float32}
    torch.testing.assert_close(z, plain_z, rtol=0.05, atol=0.05)
    torch.testing.assert_close(log_det, plain_log_det, rtol=0.05, atol=0.1)
    torch.testing.assert_close(z_again, z, rtol=0, atol=1e-4)
    torch.testing.assert_close(inverse_log_det, -log_det_again, rtol=0, atol=1e-3)
    # a preimage of z, which can differ from x where round-off makes a net round a value differently
    error = (back - x).abs()
    assert (error.quantile(0.9) if case.rounds else error.max()) <= 1e-4
