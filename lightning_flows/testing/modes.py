"""The check of train mode."""

import torch
from torch import Tensor

from lightning_flows.functional.streams import forked
from lightning_flows.testing.compare import ROUND, same_log_dets, same_values, wrong
from lightning_flows.testing.faults import Found
from lightning_flows.testing.jacobian import depends_on_others, jacobians_of
from lightning_flows.testing.state import difference, state
from lightning_flows.testing.subject import Call, Subject

TOLERANCE = 1e-6
"""Largest relative difference of log-determinants in train mode."""


def check_train(subject: Subject) -> None:
    """train() and eval() change no values; log_det in train mode is that of the Jacobian in train mode.

    In train mode a call may change state, such as that of a power iteration, and draw random numbers. Its log_det is
    not checked if it is a random estimate, or if results depend on the batch.
    """
    for call in subject.calls:
        with torch.no_grad():
            expected, module = call(subject.fresh()), subject.fresh()
            before = state(module)
            if change := difference(before, state(module.train().eval())):
                raise Found(f"a module after train() and eval() {change}")
            for name, one, other in zip(call.results, call(module), expected, strict=True):
                same_values(one, other, ROUND, f"{name} of {call.name} after train() and eval()", "the one before")
        if "log_det" in call.results:
            _check_log_det(call, subject, expected)


def _check_log_det(call: Call, subject: Subject, in_eval: tuple[Tensor, ...]) -> None:
    """Compare with the Jacobian of the same call, unless all is as in eval mode."""
    x = call.arguments[0].clone().requires_grad_()
    (z, log_det), (_, again), (other, estimate) = (_in_train_mode(call.at(x), subject, seed) for seed in (0, 0, 1))
    if _equal(z, in_eval[0]) and _equal(log_det, in_eval[1]):
        return
    by_chance = _equal(other, z) and not _equal(estimate, log_det)
    if by_chance or not _equal(again, log_det) or not z.requires_grad or depends_on_others(z, x):
        return
    expected = torch.linalg.slogdet(jacobians_of(z, x)).logabsdet
    same_log_dets(log_det.detach(), expected, TOLERANCE, f"log_det of {call.name} in train mode", call.event)


def _equal(found: Tensor, expected: Tensor) -> bool:
    return not wrong(found, expected, ROUND).any()


def _in_train_mode(call: Call, subject: Subject, seed: int) -> tuple[Tensor, ...]:
    with forked(seed, "testing in train mode"):
        return call(subject.fresh().train())
