"""Checks of a transform."""

from collections.abc import Callable, Collection
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lightning_flows.errors import ShapeError
from lightning_flows.functional.nested_tensors import cast
from lightning_flows.testing import inputs, module_checks, purity
from lightning_flows.testing.compare import same_log_dets, same_values, wrong
from lightning_flows.testing.faults import Found, only, run_checks
from lightning_flows.testing.gradients import check_gradients
from lightning_flows.testing.jacobian import MAX_VALUES, log_abs_dets
from lightning_flows.testing.members import member_checks
from lightning_flows.testing.modes import check_train
from lightning_flows.testing.subject import Call, Subject, check_batch, check_copy
from lightning_flows.testing.values import copied


def check_transform(
    transform: nn.Module,
    x: Tensor,
    context: Any = None,
    *,
    z: Tensor | None = None,
    build: Callable[[], nn.Module] | None = None,
    skip: Collection[str] = (),
    compile: bool = False,
    tolerance: float = 1e-8,
    inverse_tolerance: float | None = None,
) -> list[str]:
    r"""Check an invertible map :math:`z = f(x)` and its log-determinant in eval mode, with its current parameters.

    ``transform(x)`` returns ``(z, log_det)`` with :math:`\log|\det \partial z / \partial x|`, and
    ``transform.inverse(z)`` returns ``(x, log_det)`` with that of the inverse map; a context, if any, is the second
    argument of both. Any module with these two methods can be checked, not only a :class:`Transform`. All checks run
    on copies in float64, unless stated otherwise; the transform and global random states are left unchanged.

    - ``shapes``: z and x are ``(B, *event)`` with equally many values, log_det is ``(B,)``; all are finite
    - ``round_trip``: inverse(forward(x)) is x
    - ``inverse_round_trip``: forward(inverse(z)) is z
    - ``log_det``: equals log\|det\| of the autograd Jacobian
    - ``inverse_log_det``: equals log\|det\| of the inverse's autograd Jacobian
    - ``forward_gradient``: derivatives of z and log_det with respect to x, parameters and floating contexts match
      finite differences; values of contexts that are whole, such as those of masks, need none
    - ``inverse_gradient``: the same for the inverse
    - ``dtypes``: results in float32 are float32, and close to those in float64
    - ``repeatable``: a second call returns the same numbers
    - ``state``: parameters, buffers and attributes do not change, nor do values in containers, plain objects, closures,
      class attributes and globals that the module's own package defines
    - ``arguments``: x, z and the context do not change, in train mode neither
    - ``memory``: results share no memory with each other or the module; they may be views of the input
    - ``random``: global generators are not used, and in train mode not seeded
    - ``settings``: global settings of torch, such as its default dtype, do not change, in train mode neither
    - ``independence``: an item has the same results alone, or in a batch in another order
    - ``batch_sizes``: it has the same in a batch of 130; an empty batch has empty results, or raises an error
    - ``layouts``: inputs that are not contiguous, in channels_last format, expanded, or require gradients give the same
      results and do not change
    - ``state_dict``: loading it restores the results; no tensor is missing
    - ``deepcopy``: a copy gives the same results, and shares nothing
    - ``train``: train() and eval() change nothing; log_det in train mode is that of the Jacobian in train mode, unless
      it is a random estimate or depends on the batch
    - ``meta``: the forward map works on the meta device; the inverse uses no other, up to the first value that it reads
    - ``compile``: ``torch.compile`` traces the forward map as one graph (only with ``compile=True``; takes seconds)

    and, if the transform has them, the other members that :class:`Compose` and :class:`Flow` use:

    - ``volume_preserving``: log_det is 0 if it is true
    - ``reported``: ``forward_reported`` and ``inverse_reported`` return what forward and inverse do
    - ``decode``: it returns x of inverse
    - ``shapes_of_events``: ``output_shape`` and ``latent_shape`` are the shape of z
    - ``inverse_state``: the inverse of a :class:`Transform` changes no state in train mode either

    Initial values such as zeros hide many mistakes: use :func:`perturb` first. So do equal sizes: use images with
    H ≠ W, which tell H·W from W², and as many channels as neither.

    Args:
        transform: module to check.
        x: data ``(B, *event)``, at least two items.
        context: tensor, or a tuple or dict of tensors; those whose first axis is the batch are indexed with it.
        z: latents for the inverse; by default those of x.
        build: returns a transform like this one, with other values, into which the state_dict is loaded. Without it, a
            copy is used, which hides state that the state_dict lacks.
        skip: names of checks to leave out, such as those that a transform is documented not to pass.
        compile: also check torch.compile; resets its caches in this process.
        tolerance: largest difference between numbers a and b, relative to 1 + \|b\|.
        inverse_tolerance: the same for round trips; by default, ``tolerance``.

    Returns: the names of the checks.
    Raises: CheckError with all faults, or with the first ones if results have wrong shapes; ShapeError,
    InputTypeError and UsageError if it cannot be checked with these arguments.

    >>> from lightning_flows.transforms import Affine
    >>> len(check_transform(Affine(shift=0.3, scale=2.0), torch.randn(4, 3, 2, 2)))
    25
    >>> class Doubled(Affine):
    ...     def forward(self, x, context=None):
    ...         z, log_det = super().forward(x)
    ...         return z, 2 * log_det
    >>> try:
    ...     check_transform(Doubled(shift=0.3, scale=2.0), torch.randn(4, 3, 1, 1))
    ... except AssertionError as error:  # a CheckError
    ...     print(str(error).partition(";")[0])
    Doubled failed 1 check:
      log_det: log_det of forward is 2.0 times the Jacobian's: -4.159 instead of -2.079 (item 0)
    """
    check_batch(x, "x")
    if x[0].numel() > MAX_VALUES and not {"log_det", "inverse_log_det"} <= set(skip):
        raise ShapeError(
            f"expected at most {MAX_VALUES} values per item, for their Jacobian; got {x[0].numel()}: use a smaller x, "
            "or skip=('log_det', 'inverse_log_det')"
        )
    name = type(transform).__name__
    subject = _prepared(transform, x, context, z, build, name)
    forward, inverse = subject.calls
    inverse_tolerance = tolerance if inverse_tolerance is None else inverse_tolerance
    checks: dict[str, Callable[[], None]] = {
        "shapes": lambda: None,  # found before the others
        "round_trip": partial(_check_round_trip, subject, forward, inverse, inverse_tolerance),
        "inverse_round_trip": partial(_check_round_trip, subject, inverse, forward, inverse_tolerance),
        "log_det": partial(_check_log_det, subject, forward, tolerance),
        "inverse_log_det": partial(_check_log_det, subject, inverse, tolerance),
        "forward_gradient": partial(check_gradients, subject, forward),
        "inverse_gradient": partial(check_gradients, subject, inverse),
        "dtypes": partial(module_checks.check_dtypes, subject),
        "repeatable": partial(purity.check_repeatable, subject),
        "state": partial(purity.check_state, subject),
        "arguments": partial(purity.check_arguments, subject),
        "memory": partial(purity.check_memory, subject),
        "random": partial(purity.check_random, subject),
        "settings": partial(purity.check_settings, subject),
        "independence": partial(inputs.check_independence, subject, tolerance),
        "batch_sizes": partial(inputs.check_batch_sizes, subject, tolerance),
        "layouts": partial(inputs.check_layouts, subject, tolerance),
        "state_dict": partial(module_checks.check_state_dict, subject),
        "deepcopy": partial(module_checks.check_deepcopy, subject),
        "train": partial(check_train, subject),
        "meta": partial(module_checks.check_meta, subject),
        "compile": partial(module_checks.check_compile, subject),
        **member_checks(transform, subject, max(tolerance, inverse_tolerance)),
    }
    return run_checks(name, checks, {*skip} if compile else {*skip, "compile"})


def _prepared(transform: nn.Module, x: Tensor, context: Any, z: Tensor | None, build: Any, name: str) -> Subject:
    """The calls in float64. Raises: CheckError if they fail, or do not return two tensors of the right shapes."""
    rest = () if context is None else (cast(copied(context), torch.float64),)
    x = x.detach().double().clone()
    forward = Call("forward", (x, *rest), ("z", "log_det"))
    subject = Subject(transform, build, [forward], purity.outside(transform))
    with only(name, "deepcopy", passing=(ShapeError,)):
        check_copy(subject.module)
        module = subject.fresh()
    with only(name, "shapes", passing=(ShapeError,)), torch.no_grad():
        found, log_det = forward(module)
        _check_shapes(forward, found, log_det)
        if found[0].numel() != x[0].numel():
            raise Found(f"z has {found[0].numel()} values per item instead of {x[0].numel()}, as many as x")
        z = found.clone() if z is None else z.detach().double().clone()
        if z.shape != found.shape:
            raise ShapeError(f"expected z of shape {tuple(found.shape)}; got {tuple(z.shape)}")
        inverse = Call("inverse", (z, *rest), ("x", "log_det"))
        back, log_det = inverse(subject.fresh())
        _check_shapes(inverse, back, log_det)
        if back.shape != x.shape:
            raise Found(f"x of inverse has shape {tuple(back.shape)} instead of {tuple(x.shape)}")
    return subject._replace(calls=[forward, inverse])


def _check_shapes(call: Call, value: Tensor, log_det: Tensor) -> None:
    if value.ndim < 1 or len(value) != call.batch:
        raise Found(f"{call.results[0]} of {call.name} has shape {tuple(value.shape)} instead of ({call.batch}, …)")
    if log_det.shape != (call.batch,):
        raise Found(f"log_det of {call.name} has shape {tuple(log_det.shape)} instead of ({call.batch},)")
    for name, result in zip(call.results, (value, log_det), strict=True):
        if not result.isfinite().all():
            raise Found(f"{name} of {call.name} has {int((~result.isfinite()).sum())} values that are not finite")


@torch.no_grad()
def _check_round_trip(subject: Subject, there: Call, back: Call, tolerance: float) -> None:
    module = subject.fresh()
    between = there(module)[0].clone()
    start = there.arguments[0]
    found = back.at(between)(module)[0]
    names = f"{back.name}({there.name}({back.results[0]}))"
    same_values(found, start, tolerance, names, back.results[0])


def _check_log_det(subject: Subject, call: Call, tolerance: float) -> None:
    """Compare with the call's own Jacobian or, for an inverse without derivatives, with that of the forward map."""
    module, value = subject.fresh(), call.arguments[0]
    moved, log_det = call.at(value.clone().requires_grad_())(module)
    if moved.requires_grad or call.name == "forward":
        expected = log_abs_dets(lambda at: call.at(at)(module)[0], value)
    else:
        expected = -log_abs_dets(lambda at: subject.calls[0].at(at)(module)[0], moved.detach())
    event = subject.calls[0].arguments[0].shape[1:]
    try:
        same_log_dets(log_det.detach(), expected, tolerance, f"log_det of {call.name}", event)
    except Found as found:
        forward, inverse = subject.calls
        other = inverse if call is forward else forward
        with torch.no_grad():
            negated = -other.at(moved.detach())(module)[1]
        agrees = not wrong(negated, expected, 100 * tolerance).any()
        raise Found(f"{found}; that of {other.name}, negated, is right" if agrees else str(found)) from None
