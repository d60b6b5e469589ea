"""Checks of a flow: a density with samples."""

import inspect
from collections.abc import Callable, Collection
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from lightning_flows.functional.nested_tensors import cast
from lightning_flows.testing import flow_checks, inputs, module_checks, purity
from lightning_flows.testing.faults import Found, only, run_checks
from lightning_flows.testing.gradients import check_gradients
from lightning_flows.testing.jacobian import MAX_VALUES
from lightning_flows.testing.modes import check_train
from lightning_flows.testing.subject import Call, Subject, check_batch, check_copy
from lightning_flows.testing.values import copied


def check_flow(
    flow: nn.Module,
    x: Tensor,
    context: Any = None,
    *,
    build: Callable[[], nn.Module] | None = None,
    skip: Collection[str] = (),
    compile: bool = False,
    bounds: tuple[float, float] | None = None,
    tolerance: float = 1e-8,
    mass_tolerance: float = 1e-3,
    num_samples: int = 20_000,
    false_alarm: float = 1e-6,
) -> list[str]:
    r"""Check a density and its samples in eval mode, with the flow's current parameters.

    ``flow.log_prob(x)`` returns ``(B,)`` in nats, and ``flow.sample(num)`` draws from it; a context, if any, is their
    second argument. Any module with these methods can be checked. Checks of other methods run if the flow has them. All
    checks run on copies in float64, unless stated otherwise; the flow and global random states are left unchanged.

    - ``shapes``: log_prob is ``(B,)`` and finite; samples have the shape of x
    - ``log_prob``: that of latents plus log\|det\| of the autograd Jacobian (``encode``, ``latent_log_prob``; up to
      1,024 values)
    - ``decode``: decode(encode(x)) is x
    - ``normalization``: the density integrates to one (up to two values, by quadrature; a grid that is too coarse for
      narrow modes finds nothing). From three values on, a constant in log_prob passes, except one in the
      log-determinant, which ``log_prob`` finds: compare ``latent_log_prob`` with a density that you know.
    - ``samples``: they follow the density: means of cosines match their integrals (up to two values), or Stein's
      identity holds; the probability of a false alarm is at most ``false_alarm``
    - ``contexts``: samples of an item in a batch of contexts are distributed as those of its context alone; the
      probability of a false alarm is the same
    - ``sample_log_prob``: ``sample_and_log_prob`` returns the log_prob of its samples
    - ``temperature``: it scales the noise of the samples (``temperature`` of ``sample``; ``encode``)
    - ``generator``: equal generators give equal samples, different ones different samples (``generator`` of ``sample``)
    - ``log_prob_gradient``: derivatives with respect to x, parameters and floating contexts match finite differences;
      values of contexts that are whole, such as those of masks, need none

    and for ``log_prob`` those of :func:`check_transform` named dtypes, repeatable, state, arguments, memory,
    random, settings, independence, batch_sizes, layouts, state_dict, deepcopy, train, meta and compile; state, random
    and settings also for ``sample``.

    Args:
        flow: module to check.
        x: data ``(B, *event)``, at least two items; quadratures use it to locate the density.
        context: tensor, or a tuple or dict of tensors; those whose first axis is the batch are indexed with it.
        build: returns a flow like this one, into which the state_dict is loaded.
        skip: names of checks to leave out.
        compile: also check torch.compile; requires that calling the flow returns its log_prob.
        bounds: limits of each value, if the density has them; by default, all real numbers.
        tolerance: largest difference between numbers a and b, relative to 1 + \|b\|.
        mass_tolerance: largest difference of the integral from 1.
        num_samples: number of samples that are compared with the density; n times as many find faults √n times smaller.
        false_alarm: largest probability that correct samples fail.

    Returns: the names of the checks.
    Raises: CheckError with all faults; ShapeError, InputTypeError and UsageError if it cannot be checked with these
    arguments.

    >>> from lightning_flows import DiagonalGaussian, Flow
    >>> from lightning_flows.transforms import Affine
    >>> names = check_flow(Flow(Affine(shift=0.3, scale=2.0), DiagonalGaussian((2,))), torch.randn(4, 2))
    >>> "normalization" in names, "samples" in names
    (True, True)
    """
    check_batch(x, "x")
    name = type(flow).__name__
    subject = _prepared(flow, x, context, build, name)
    call, options = subject.calls[0], set(inspect.signature(flow.sample).parameters)  # type: ignore[arg-type]
    sampling = flow_checks.with_samples(subject)
    checks: dict[str, Callable[[], Any]] = {"shapes": lambda: None}  # found before the others
    if hasattr(flow, "encode") and hasattr(flow, "latent_log_prob") and x[0].numel() <= MAX_VALUES:
        checks["log_prob"] = partial(flow_checks.check_log_prob, subject, tolerance)
    if hasattr(flow, "encode") and hasattr(flow, "decode"):
        checks["decode"] = partial(flow_checks.check_decode, subject, tolerance)
    density = flow_checks.Density(subject, bounds, mass_tolerance, num_samples, false_alarm)
    if x[0].numel() <= 2:
        checks["normalization"] = partial(flow_checks.check_normalization, density)
    if x[0].numel() <= 2 or bounds is None:
        checks["samples"] = partial(flow_checks.check_samples, density)
    if context is not None:
        checks["contexts"] = partial(flow_checks.check_contexts, density)
    if hasattr(flow, "sample_and_log_prob"):
        checks["sample_log_prob"] = partial(flow_checks.check_sample_log_prob, subject, tolerance)
    if "temperature" in options:
        checks["temperature"] = partial(flow_checks.check_temperature, subject)
    if "generator" in options:
        checks["generator"] = partial(flow_checks.check_generator, subject)
    checks |= {
        "log_prob_gradient": partial(check_gradients, subject, call),
        "dtypes": partial(module_checks.check_dtypes, subject),
        "repeatable": partial(purity.check_repeatable, subject),
        "state": partial(purity.check_state, sampling),
        "arguments": partial(purity.check_arguments, subject),
        "memory": partial(purity.check_memory, subject),
        "random": partial(purity.check_random, sampling if "generator" in options else subject),
        "settings": partial(purity.check_settings, sampling),
        "independence": partial(inputs.check_independence, subject, tolerance),
        "batch_sizes": partial(inputs.check_batch_sizes, subject, tolerance),
        "layouts": partial(inputs.check_layouts, subject, tolerance),
        "state_dict": partial(module_checks.check_state_dict, subject),
        "deepcopy": partial(module_checks.check_deepcopy, subject),
        "train": partial(check_train, subject),
        "meta": partial(module_checks.check_meta, subject),
        "compile": partial(module_checks.check_compile, subject._replace(calls=[call._replace(name="forward")])),
    }
    return run_checks(name, checks, {*skip} if compile else {*skip, "compile"})


def _prepared(flow: nn.Module, x: Tensor, context: Any, build: Any, name: str) -> Subject:
    """The call in float64. Raises: CheckError if log_prob or sample fails, or returns another shape."""
    rest = () if context is None else (cast(copied(context), torch.float64),)
    call = Call("log_prob", (x.detach().double().clone(), *rest), ("log_prob",))
    subject = Subject(flow, build, [call], purity.outside(flow))
    with only(name, "deepcopy"):
        check_copy(subject.module)
        module = subject.fresh()
    with only(name, "shapes"), torch.no_grad():
        (log_prob,) = call(module)
        if log_prob.shape != (len(x),):
            raise Found(f"log_prob has shape {tuple(log_prob.shape)} instead of ({len(x)},)")
        if not log_prob.isfinite().all():
            raise Found(f"log_prob has {int((~log_prob.isfinite()).sum())} values that are not finite")
        samples = flow_checks.draw(module, call, len(x))
        if not isinstance(samples, Tensor):
            raise Found(f"sample returns {type(samples).__name__} instead of a tensor")
        if samples.shape != x.shape:
            raise Found(f"{len(x)} samples have shape {tuple(samples.shape)} instead of {tuple(x.shape)}")
        converted = any(value.is_floating_point() for value in chain(module.parameters(), module.buffers()))
        if converted and samples.dtype != torch.float64:
            raise Found(f"samples are {samples.dtype} instead of torch.float64, the dtype of the parameters")
    return subject
