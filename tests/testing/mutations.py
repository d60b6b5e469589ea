"""Faulty transforms, the checks that find them, and their messages."""

import random
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from tests.testing.mutants import (
    BatchMean,
    Captured,
    Clamped,
    Dropped,
    HalfCounted,
    HalfDetached,
    Locked,
    OnHost,
    Shared,
    Single,
    Transposed,
    Unregistered,
    WithOption,
    WrongBackward,
    before,
    cache,
    count,
    forward,
    grow,
    inverse,
    replace,
)


class Mutation(NamedTuple):
    """A faulty transform, the check that finds it and a regular expression for the message of that check."""

    build: Callable[[], nn.Module]
    check: str
    message: str


def where_first_is_large(x: Tensor) -> Tensor:
    return (x[:, 0, 0, 0] > 1).to(x.dtype)


LOG_DETS = {
    "doubled": (lambda s, x, z, d: (z, 2 * d), r"is 2\.0 times the Jacobian's: -?[\d.]+ instead of -?[\d.]+"),
    "halved": (lambda s, x, z, d: (z, d / 2), r"is 0\.5 times"),
    "sign": (lambda s, x, z, d: (z, -d), r"has the wrong sign"),
    "mean": (
        lambda s, x, z, d: (z, d / z[0].numel()),
        r"is 0\.08333 times .*, 1 over the number of values \(12\)",
    ),
    "bits": (lambda s, x, z, d: (z, d / np.log(2)), r"is 1\.443 times"),
    "other item": (lambda s, x, z, d: (z, d.roll(1)), r"is that of another item of the batch"),
    "flipped items": (lambda s, x, z, d: (z, d.flip(0)), r"is that of another item of the batch"),
    "summed": (lambda s, x, z, d: (z, d.sum().expand(len(d))), r"is the sum over the batch"),
    "averaged": (lambda s, x, z, d: (z, d.mean().expand(len(d))), r"is the mean over the batch"),
    "offset": (lambda s, x, z, d: (z, d - 0.3), r"is the Jacobian's − 0\.3:"),
    "zero": (lambda s, x, z, d: (z, 0 * d), r"is 0:"),
    "part": (lambda s, x, z, d: (z, s.log_scale.sum().expand(len(x)) * 6), r"differs from the Jacobian's by up to"),
    "some items": (lambda s, x, z, d: (z, d + where_first_is_large(x)), r"differs from the Jacobian's by up to 1\.0"),
    "slightly": (lambda s, x, z, d: (z, d * (1 + 1e-6)), r"differs from the Jacobian's by up to \d.*e-0[56]"),
    "float32": (lambda s, x, z, d: (z, d.float().to(d.dtype)), r"differs from the Jacobian's by up to \d.*e-0[78]"),
}

MUTATIONS = {
    f"log_det {name}": Mutation(forward(change), "log_det", message) for name, (change, message) in LOG_DETS.items()
}
MUTATIONS |= {
    "log_det of one pixel": Mutation(
        HalfCounted, "log_det", r"1 over the number of positions \(6\): -0\.5 instead of -3"
    ),
    "log_det not finite": Mutation(
        forward(lambda s, x, z, d: (z, d.masked_fill(torch.arange(len(d)) == 1, torch.nan))), "shapes", "1 values that"
    ),
    "inverse log_det sign": Mutation(inverse(lambda s, z, x, d: (x, -d)), "inverse_log_det", "has the wrong sign"),
    "inverse log_det doubled": Mutation(inverse(lambda s, z, x, d: (x, 2 * d)), "inverse_log_det", r"is 2\.0 times"),
    "inverse log_det zero": Mutation(inverse(lambda s, z, x, d: (x, 0 * d)), "inverse_log_det", "is 0"),
    "inverse slightly": Mutation(
        inverse(lambda s, z, x, d: (x + 1e-6, d)),
        "round_trip",
        r"inverse\(forward\(x\)\) .* 1e-06 in 6 of 6 items",
    ),
    "inverse": Mutation(inverse(lambda s, z, x, d: (1.5 * x, d)), "round_trip", "differs from x by up to"),
    "inverse of some": Mutation(
        inverse(lambda s, z, x, d: (x + 0.1 * where_first_is_large(x)[:, None, None, None], d)),
        "round_trip",
        r"up to 0\.1 in [1-3] of 6 items",
    ),
    "inverse without shift": Mutation(inverse(lambda s, z, x, d: (x + s.shift, d)), "inverse_round_trip", "from z by"),
    "inverse without center": Mutation(inverse(lambda s, z, x, d: (x - s.center, d)), "round_trip", "from x by"),
    "inverse of other channels": Mutation(Transposed, "round_trip", "from x by"),
    "inverse of some latents": Mutation(Clamped, "inverse_round_trip", "from z by"),
    "inverse detached": Mutation(
        inverse(lambda s, z, x, d: (x.detach(), d)), "inverse_gradient", "derivative of x .* is 0.0 instead .* detached"
    ),
    "parameter in eval": Mutation(before(grow), "state", r"changes log_scale by up to 0\.00[3-9]"),
    "buffer in eval": Mutation(before(lambda s, x: s.center.add_(0.1)), "state", r"changes center by up to 0\.1$"),
    "buffer replaced in eval": Mutation(before(replace), "state", r"changes center by up to 0\.1$"),
    "counter in eval": Mutation(before(count), "state", "adds the attribute count"),
    "cache in eval": Mutation(before(cache), "state", "adds the attribute last"),
    "train mode": Mutation(before(lambda s, x: s.train()), "state", "changes training from False to True"),
    "input in place": Mutation(before(lambda s, x: x.mul_(2)), "arguments", "an argument of forward, after the call"),
    "z in place": Mutation(
        inverse(lambda s, z, x, d: (x + 0 * z.neg_(), d)), "arguments", "an argument of inverse, after the call"
    ),
    "z in float32": Mutation(
        forward(lambda s, x, z, d: (z.float(), d)),
        "dtypes",
        r"z of forward is torch\.float32 instead",
    ),
    "log_det in float32": Mutation(
        forward(lambda s, x, z, d: (z, d.float())), "dtypes", r"log_det of forward is torch\.float32 instead of"
    ),
    "always float64": Mutation(
        inverse(lambda s, z, x, d: (x.double(), d)),
        "dtypes",
        r"x of inverse is torch\.float64 instead",
    ),
    "in float32": Mutation(Single, "round_trip", r"differs from x by up to \d[.\d]*e-0[78]"),
    "log_det (B, 1)": Mutation(
        forward(lambda s, x, z, d: (z, d[:, None])), "shapes", r"has shape \(6, 1\) instead of \(6,\)"
    ),
    "log_det ()": Mutation(forward(lambda s, x, z, d: (z, d.sum())), "shapes", r"has shape \(\) instead of \(6,\)"),
    "log_det of values": Mutation(forward(lambda s, x, z, d: (z, z)), "shapes", r"has shape \(6, 2, 2, 3\) instead of"),
    "a value lost": Mutation(
        forward(lambda s, x, z, d: (z.flatten(1)[:, 1:], d)), "shapes", "z has 11 values per item instead of 12"
    ),
    "inverse flattened": Mutation(
        inverse(lambda s, z, x, d: (x.flatten(1), d)), "shapes", r"x of inverse has shape \(6, 12\) instead of"
    ),
    "only z": Mutation(forward(lambda s, x, z, d: z), "shapes", r"forward returns \(Tensor\) instead of a z, log_det"),
    "a float": Mutation(forward(lambda s, x, z, d: (z, 0.0)), "shapes", r"returns \(Tensor, float\) instead"),
    "an error": Mutation(before(lambda s, x: x + s.weight), "shapes", "raises AttributeError: .*no attribute 'weight'"),
    "log_det detached": Mutation(
        forward(lambda s, x, z, d: (z, d.detach())),
        "forward_gradient",
        "of log_det .* is 0.0 instead .* detached",
    ),
    "z detached": Mutation(
        forward(lambda s, x, z, d: (z.detach(), d)), "forward_gradient", "of z .* is 0.0 instead .* detached"
    ),
    "parameter detached": Mutation(
        HalfDetached, "forward_gradient", "derivative of log_det with respect to log_scale is .* instead of"
    ),
    "wrong backward": Mutation(WrongBackward, "forward_gradient", "derivative of log_det with respect to the input is"),
    "noise in eval": Mutation(
        forward(lambda s, x, z, d: (z + 0.01 * torch.randn_like(z), d)), "repeatable", "second call of forward in eval"
    ),
    "noise of torch": Mutation(
        forward(lambda s, x, z, d: (z + 0.01 * torch.randn_like(z), d)), "random", "from the global generator of torch"
    ),
    "torch's generator": Mutation(before(lambda s, x: torch.rand(1)), "random", "global generator of torch"),
    "Python's generator": Mutation(before(lambda s, x: random.random()), "random", "global generator of Python"),
    "NumPy's generator": Mutation(before(lambda s, x: np.random.rand()), "random", "global generator of NumPy"),
    "batch mean": Mutation(BatchMean, "independence", "z of forward of an item alone differs from the one in a batch"),
    "log_det of batch": Mutation(
        forward(lambda s, x, z, d: (z, d - d.mean())), "independence", "log_det of forward of an item alone"
    ),
    "first item": Mutation(
        forward(lambda s, x, z, d: (z + (torch.arange(len(z)) == 0).to(z.dtype)[:, None, None, None], d)),
        "independence",
        "of an item alone differs from the one in a batch by up to 1.0",
    ),
    "position in batch": Mutation(
        forward(lambda s, x, z, d: (z, d + torch.arange(len(d)).flip(0) * (len(d) > 1))),
        "independence",
        "of a batch in reverse order differs",
    ),
    "tensor not registered": Mutation(Unregistered, "state_dict", "center is a tensor that state_dict.* miss"),
    "number not registered": Mutation(WithOption, "state_dict", "after loading the state_dict differs"),
    "buffer not saved": Mutation(Dropped, "state_dict", "after loading the state_dict differs"),
    "closure": Mutation(Captured, "meta", "raises RuntimeError: .*(meta|device)"),
    "copy": Mutation(Shared, "deepcopy", "a copy shares log_scale with the original"),
    "lock": Mutation(Locked, "deepcopy", "raises TypeError: cannot pickle"),
    "value read": Mutation(before(lambda s, x: float(x.detach().max())), "meta", "raises RuntimeError: .*meta"),
    "on the host": Mutation(OnHost, "meta", "raises .*(meta|device)"),
    "not traced": Mutation(before(lambda s, x: print(end="")), "compile", "raises Unsupported"),
}
