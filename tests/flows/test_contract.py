"""The contract of every family of flows; the table is in cases.py."""

import copy
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from lightning_flows.errors import InputTypeError, ShapeError
from lightning_flows.flows import Flow
from lightning_flows.testing import check_flow
from tests.flows.cases import COLOR, FAMILIES, GRAPH, IMAGE, NUMBERS, VECTOR, family, single_level
from tests.transforms.cases import perturb

TABLE = pytest.mark.parametrize("name", FAMILIES)
EXPORTED = pytest.mark.parametrize("name", [name for name, case in FAMILIES.items() if not case.differentiates])
IMAGES = pytest.mark.parametrize("name", [name for name, case in FAMILIES.items() if case.event_shape == IMAGE])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@TABLE
def test_check_flow(name: str) -> None:
    """Also the log-determinant against the Jacobian; the noise of sets is not centered: tested below."""
    flow, x = family(name)
    skip = {"temperature"} if name == "set" else set()
    names = check_flow(flow, x, build=lambda: FAMILIES[name].build().double(), skip=skip, num_samples=200)
    assert {"log_prob", "decode", "sample_log_prob", "generator", "state_dict", "meta"} <= set(names)


@TABLE
@torch.no_grad()
def test_calls_and_terms_are_log_prob(name: str) -> None:
    flow, x = family(name)
    log_prob, terms = flow.log_prob(x), flow.log_prob_terms(x)
    assert torch.equal(flow(x), log_prob)
    assert torch.equal(terms.latents + terms.log_det, log_prob)
    latents = flow.encode(x)
    assert torch.equal(terms.latents, flow.latent_log_prob(latents))
    assert [latent.shape[1:] for latent in latents] == flow.latent_shapes


@TABLE
@torch.no_grad()
def test_decode_inverts_encode(name: str) -> None:
    flow, x = family(name)
    latents = flow.encode(x)
    torch.testing.assert_close(flow.decode(latents, accuracy="exact"), x, rtol=0, atol=1e-8)
    found, _ = flow.decode_reported(latents, accuracy="exact")
    torch.testing.assert_close(found, x, rtol=0, atol=1e-8)


@TABLE
@torch.no_grad()
def test_samples_have_their_log_prob_and_use_only_the_generator(name: str) -> None:
    flow, _ = family(name)
    state = torch.get_rng_state()
    x, log_prob = flow.sample_and_log_prob(3, generator=generator())
    same = flow.sample(3, generator=generator(), accuracy="exact")
    assert torch.equal(torch.get_rng_state(), state)
    assert x.shape == (3, *flow.event_shape)
    torch.testing.assert_close(same, x, rtol=1e-12, atol=1e-10)
    torch.testing.assert_close(log_prob, flow.log_prob(x), rtol=1e-9, atol=1e-7)
    assert not torch.equal(flow.sample(3, generator=generator(1)), x)


@TABLE
@torch.no_grad()
def test_temperature_scales_the_noise_of_every_level(name: str) -> None:
    flow, _ = family(name)
    cold, warm = (flow.sample_latents(5, temperature=t, generator=generator()) for t in (0.5, 1.0))
    for few, many in zip(cold, warm, strict=True):
        center = flow.base.from_noise(torch.zeros_like(many)) if few is cold[-1] else 0
        torch.testing.assert_close(few - center, 0.5 * (many - center), rtol=0, atol=1e-12)
    frozen = flow.sample(2, temperature=0.0)
    torch.testing.assert_close(frozen[0], frozen[1], rtol=0, atol=1e-9)


@TABLE
@torch.no_grad()
def test_noise_of_a_generator_does_not_depend_on_the_parameters(name: str) -> None:
    one, _ = family(name)
    two = perturb(copy.deepcopy(one), family(name)[1], noise=0.1)
    noises = [
        (*rest, flow.base.to_noise(last))
        for flow in (one, two)
        for *rest, last in [flow.sample_latents(3, generator=generator(4))]
    ]
    for pair in zip(*noises, strict=True):
        torch.testing.assert_close(*pair, rtol=1e-10, atol=1e-10)


@TABLE
def test_every_parameter_gets_a_gradient(name: str) -> None:
    flow, x = family(name)
    flow.log_prob(x).sum().backward()
    for key, parameter in flow.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key


@TABLE
@torch.no_grad()
def test_evaluation_is_pure_and_items_do_not_mix(name: str) -> None:
    flow, x = family(name)
    before, whole = copy.deepcopy(flow.state_dict()), flow.log_prob(x)
    torch.testing.assert_close(flow.log_prob(x[2:3]), whole[2:3], rtol=0, atol=1e-9)
    assert torch.equal(flow.log_prob(x), whole)
    flow.sample(2)
    flow.train().sample(2)
    flow.decode(flow.eval().encode(x))
    assert all(torch.equal(value, before[key]) for key, value in flow.state_dict().items())


@TABLE
@torch.no_grad()
def test_copies_and_flows_rebuilt_from_init_args_are_equal(name: str) -> None:
    flow, x = family(name)
    expected = flow.log_prob(x)
    fresh = type(flow)(**flow.init_args).double().eval()
    fresh.load_state_dict(flow.state_dict())
    for other in (fresh, copy.deepcopy(flow), pickle.loads(pickle.dumps(flow))):
        assert torch.equal(other.log_prob(x), expected)
        assert other.init_args.keys() == flow.init_args.keys()


@TABLE
@torch.no_grad()
def test_averaged_weights_form_a_flow(name: str) -> None:
    build, shape, *_ = FAMILIES[name]
    flow, x = build().double().train(), family(name)[1]
    averaged = AveragedModel(flow, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    for _ in range(3):
        flow.log_prob(x)  # the first initializes ActNorm
        averaged.update_parameters(flow)
    torch.testing.assert_close(averaged.eval()(x), flow.eval()(x), rtol=1e-3, atol=1e-2)
    assert averaged.module.sample(2).shape == (2, *shape)


@TABLE
@torch.no_grad()
def test_threads_do_not_disturb_each_other(name: str) -> None:
    flow, x = family(name)
    calls: list[Callable[[], Any]] = [
        lambda: flow.log_prob(x),
        lambda: flow.sample_and_log_prob(2, generator=generator())[1],
        lambda: flow.sample(2, generator=generator()),
        lambda: flow.encode(x, dtype=torch.float32)[-1],
    ]
    expected = [call() for call in calls]
    with ThreadPoolExecutor(4) as pool:  # no_grad is local to a thread
        found = [pool.submit(torch.no_grad()(calls[i % 4])) for i in range(12)]
        assert all(torch.equal(each.result(), expected[i % 4]) for i, each in enumerate(found))


@TABLE
def test_compiled(name: str) -> None:
    flow, x = family(name)
    torch.compiler.reset()
    compiled = torch.compile(flow, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), flow(x), rtol=1e-12, atol=1e-10)


@EXPORTED
@torch.no_grad()
def test_exported(name: str) -> None:
    flow, x = family(name)
    any_batch = {"x": {0: torch.export.Dim("batch")}}
    exported = torch.export.export(flow, (x,), dynamic_shapes=any_batch, strict=False)
    x = x[:3]
    torch.testing.assert_close(exported.module()(x), flow(x), rtol=1e-12, atol=1e-10)


@TABLE
def test_repr_shows_the_shape_of_events_and_every_layer(name: str) -> None:
    flow, _ = family(name)
    shown = repr(flow)
    assert shown.startswith(f"{type(flow).__name__}(\n  {flow.event_shape}\n")
    assert all(type(module).__name__ in shown for module in flow.modules())


@TABLE
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_an_empty_batch_gives_empty_results(name: str, training: bool) -> None:
    flow, x = family(name)
    flow.train(training)
    none = x[:0].requires_grad_()
    log_prob = flow.log_prob(none)
    assert (log_prob.shape, log_prob.dtype) == ((0,), x.dtype)
    log_prob.sum().backward()
    assert none.grad is not None
    latents = flow.encode(x[:0])
    assert [latent.shape for latent in latents] == [(0, *shape) for shape in flow.latent_shapes]
    assert flow.decode(latents).shape == x[:0].shape
    assert flow.sample(0).shape == x[:0].shape
    sample, log_prob = flow.sample_and_log_prob(0)
    assert (sample.shape, log_prob.shape) == (x[:0].shape, (0,))


@TABLE
def test_an_empty_first_batch_initializes_nothing(name: str) -> None:
    flow, x = FAMILIES[name].build().double().train(), family(name)[1]
    flow.log_prob(x[:0])
    assert all(parameter.isfinite().all() for parameter in flow.parameters())
    flow.log_prob(x)
    layers = [m for m in flow.modules() if hasattr(m, "initialized")]
    assert all(layer.initialized for layer in layers)
    assert all(layer.log_scale.detach().abs().max() > 1e-3 for layer in layers)


@TABLE
def test_a_different_dtype_is_refused(name: str) -> None:
    for own, other in ((torch.float32, torch.float64), (torch.float64, torch.float32), (torch.float32, torch.half)):
        flow, x = family(name, own)
        with pytest.raises(InputTypeError, match=f"expected {own}.*; got {other}"):
            flow.log_prob(x.to(other))
    with pytest.raises(InputTypeError, match=r"expected a floating tensor; got torch\.uint8"):
        flow.log_prob(x.to(torch.uint8))


@TABLE
def test_a_different_device_is_refused(name: str) -> None:
    flow, x = family(name)
    with pytest.raises(InputTypeError, match="expected a tensor on cpu, the device of the flow; got one on meta"):
        flow.log_prob(x.to("meta"))
    with pytest.raises(InputTypeError, match="expected a tensor on cpu"):
        flow.decode([latent.to("meta") for latent in flow.encode(x)])


@TABLE
@pytest.mark.parametrize("dtype", [torch.half, torch.bfloat16])
def test_a_flow_of_half_precision_is_refused(name: str, dtype: torch.dtype) -> None:
    flow, x = family(name, torch.float32)
    for call in (lambda: flow.to(dtype).log_prob(x.to(dtype)), lambda: flow.to(dtype).sample(2)):
        with pytest.raises(InputTypeError, match=f"expected a flow in float32 or float64; got {dtype}"):
            call()


@TABLE
def test_other_shapes_are_refused(name: str) -> None:
    flow, x = family(name)
    wrong = [x[0], x[..., None], x[..., :1]] + ([x.repeat(1, 1, 2, 2)] if x.ndim == 4 else [])
    for value in wrong:
        with pytest.raises(ShapeError, match="expected "):
            flow.log_prob(value)
    latents = flow.encode(x)
    with pytest.raises(ShapeError, match=f"expected {len(latents)} latents; got {len(latents) + 1}"):
        flow.decode([*latents, x])
    with pytest.raises(ShapeError, match="expected "):
        flow.decode([*latents[:-1], latents[-1][..., None]])


@TABLE
@torch.no_grad()
def test_encode_and_decode_compute_in_the_requested_dtype(name: str) -> None:
    flow, x = family(name, torch.float32)
    before = copy.deepcopy(flow.state_dict())
    latents = flow.encode(x, dtype=torch.float64)
    exact = copy.deepcopy(flow).double()
    assert all(map(torch.equal, latents, exact.encode(x.double())))
    back = flow.decode(latents, dtype=torch.float64)
    assert torch.equal(back, exact.decode(latents))
    torch.testing.assert_close(back, x.double(), rtol=0, atol=1e-6)
    assert all(torch.equal(value, before[key]) for key, value in flow.state_dict().items())
    assert flow.encode(x)[0].dtype == torch.float32
    with torch.inference_mode():
        assert torch.equal(flow.encode(x, dtype=torch.float64)[0], latents[0])


@TABLE
@torch.no_grad()
def test_autocast_changes_little(name: str) -> None:
    flow, x = family(name, torch.float32)
    expected = flow.log_prob(x)
    with torch.autocast("cpu", torch.bfloat16):
        found = flow.log_prob(x)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0.03, atol=0.3)


@IMAGES
def test_a_context_is_refused_if_no_layer_uses_one(name: str) -> None:
    flow, x = family(name)
    context = torch.zeros(4, 10, dtype=x.dtype)
    kind = type(flow).__name__
    for call in (lambda: flow.log_prob(x, context), lambda: flow.encode(x, context), lambda: flow.sample(4, context)):
        with pytest.raises(ShapeError, match=rf"expected no context for {kind}; got \(4, 10\)"):
            call()


def test_contexts_are_used_and_wrong_shapes_refused() -> None:
    context, x = torch.randn(4, 3, 2, 2), torch.randn(4, *VECTOR)
    flow: Flow = perturb(single_level(3), x, context)
    assert (flow.log_prob(x, context) - flow.log_prob(x, 2 * context)).abs().min() > 1e-4
    assert flow.sample(4, context).shape == x.shape
    exact = flow.encode(x, context, dtype=torch.float64)
    torch.testing.assert_close(flow.decode(exact, context, dtype=torch.float64).float(), x)
    for wrong in (context[:3], context[:, :2], context[:, :, :1], context[:, :, 0, 0], context[:1]):
        with pytest.raises(ShapeError, match=r"expected a context of shape \(4, 3, 2, 2\); got shape"):
            flow.log_prob(x, wrong)
    with pytest.raises(ShapeError, match=r"expected a context of shape \(4, 3, 2, 2\); got none"):
        flow.log_prob(x)
    with pytest.raises(ShapeError, match=r"expected a context of shape \(5, 3, 2, 2\)"):
        flow.sample(5, context)


def test_the_table_covers_every_kind_of_event() -> None:
    assert {case.event_shape for case in FAMILIES.values()} == {IMAGE, COLOR, GRAPH, VECTOR, NUMBERS}
