"""Faulty transforms that depend on, or change, what they should not; the checks that find them, and their messages."""

import random
import types

import numpy as np
import torch
from torch import Tensor

from tests.testing import impure_mutants as mutants
from tests.testing.impure_mutants import counter, in_train_mode, offset, variant
from tests.testing.mutants import before, forward, inverse
from tests.testing.mutations import Mutation


def values_of(x: Tensor) -> Tensor:
    """A view that only contiguous tensors have."""
    return x.view(-1)


RANDOM = {
    "seeds torch": Mutation(before(lambda s, x: torch.manual_seed(0)), "random", "eval mode seeds .* of torch"),
    "seeds Python": Mutation(before(lambda s, x: random.seed(0)), "random", "seeds the global generator of Python"),
    "seeds NumPy": Mutation(before(lambda s, x: np.random.seed(0)), "random", "seeds the global generator of NumPy"),
    "seeds in train mode": Mutation(
        in_train_mode(lambda x: torch.manual_seed(0)), "random", "train mode seeds .* torch"
    ),
    "own generator": Mutation(mutants.RandomState, "state", "changes own from"),
}

SETTINGS = {
    "default dtype": Mutation(
        before(lambda s, x: torch.set_default_dtype(torch.float32)),
        "settings",
        r"changes the default dtype of the process from torch\.float64 to torch\.float32",
    ),
    "default device": Mutation(
        before(lambda s, x: torch.set_default_device("meta")), "settings", "default device .* from cpu to meta"
    ),
    "gradients off": Mutation(before(lambda s, x: torch.set_grad_enabled(False)), "settings", "grad mode .* from True"),
    "gradients on": Mutation(before(lambda s, x: torch.set_grad_enabled(True)), "settings", "grad mode .* from False"),
    "deterministic algorithms": Mutation(
        before(lambda s, x: torch.use_deterministic_algorithms(True)), "settings", "debug mode .* from 0 to 2"
    ),
    "number of threads": Mutation(
        before(lambda s, x: torch.set_num_threads(3)), "settings", r"number of threads .* to 3"
    ),
    "matmul precision": Mutation(
        before(lambda s, x: torch.set_float32_matmul_precision("high")), "settings", "precision .* from highest to high"
    ),
    "cuDNN": Mutation(
        before(lambda s, x: setattr(torch.backends.cudnn, "benchmark", True)), "settings", "cuDNN option benchmark"
    ),
    "anomaly detection": Mutation(
        before(lambda s, x: torch.autograd.set_detect_anomaly(True)), "settings", "anomaly detection"
    ),
    "settings in train mode": Mutation(
        in_train_mode(lambda x: torch.set_default_dtype(torch.float32)), "settings", "in train mode changes the default"
    ),
}

STATE = {
    "counter in a dict": Mutation(
        variant(lambda s: setattr(s, "calls", {"n": 0}), lambda s, x: s.calls.update(n=s.calls["n"] + 1)),
        "state",
        r"changes calls\['n'\] from 0 to 1",
    ),
    "nested list": Mutation(
        variant(lambda s: setattr(s, "calls", [[0]]), lambda s, x: s.calls[0].append(1)),
        "state",
        r"adds .*calls\[0\]\[1\]",
    ),
    "cache on a plain object": Mutation(
        variant(lambda s: setattr(s, "own", types.SimpleNamespace(last=0)), lambda s, x: setattr(s.own, "last", x)),
        "state",
        r"changes own\.last to a value of another type",
    ),
    "counter in a closure": Mutation(
        variant(lambda s: setattr(s, "step", counter()), lambda s, x: s.step()),
        "state",
        "variable calls in the closure",
    ),
    "counter in a class": Mutation(before(mutants.count_in_class), "state", r"the class attribute Mutant\.count from"),
    "counter in a global": Mutation(
        before(mutants.count_globally), "state", r"the global CALLS of .*\['forward'\] from"
    ),
    "cache in a global": Mutation(before(mutants.keep_globally), "state", "the global LAST of .*"),
    "tensor in a global": Mutation(mutants.GlobalTensor, "state", "inverse in eval mode changes the global MEAN of"),
    "default argument": Mutation(before(mutants.keep_in_default), "state", "default 0 of keep_in_default"),
    "counter in a hook": Mutation(
        variant(lambda s: s.register_forward_pre_hook(counter())), "state", "variable calls in the closure of count"
    ),
    "hook in each call": Mutation(
        before(lambda s, x: s.register_forward_hook(lambda *_: None)),
        "state",
        "changes _forward_hooks from length 0 to",
    ),
    "integer buffer": Mutation(
        variant(lambda s: s.register_buffer("n", torch.tensor(0)), lambda s, x: s.n.add_(1)),
        "state",
        r"n by up to 1\.0",
    ),
    "flag": Mutation(
        variant(lambda s: s.register_buffer("called", torch.tensor(False)), lambda s, x: s.called.fill_(True)),
        "state",
        r"changes called by up to 1\.0",
    ),
    "frozen": Mutation(before(lambda s, x: s.shift.requires_grad_(False)), "state", r"shift\.requires_grad from True"),
    "tensor in a list": Mutation(
        offset(lambda s, t: setattr(s, "own", [t]), lambda s: s.own[0]),
        "state_dict",
        r"own\[0\] is a tensor that state",
    ),
    "tensor on a plain object": Mutation(
        offset(lambda s, t: setattr(s, "own", types.SimpleNamespace(t=t)), lambda s: s.own.t),
        "state_dict",
        r"own\.t is a tensor that state_dict",
    ),
    "module in a list": Mutation(
        offset(lambda s, t: setattr(s, "own", [torch.nn.ParameterList([t])]), lambda s: s.own[0][0].detach()),
        "state_dict",
        r"own\[0\]\.0 is a tensor that state_dict",
    ),
    "buffer that is not persistent": Mutation(
        offset(lambda s, t: s.register_buffer("own", t, persistent=False), lambda s: s.own),
        "state_dict",
        "after loading the state_dict differs",
    ),
    "results in the same memory": Mutation(mutants.SharedResults, "memory", "z and log_det of forward share memory"),
    "log_det of a buffer": Mutation(mutants.OfBuffer, "memory", "log_det of forward shares memory .* changes log_dets"),
}

INPUTS = {
    "view": Mutation(
        before(lambda s, x: values_of(x)), "layouts", "forward of a transposed input raises RuntimeError: view"
    ),
    "not contiguous": Mutation(
        forward(lambda s, x, z, d: (z, d) if x.is_contiguous() else (2 * z, d)),
        "layouts",
        "z of forward of an input with",
    ),
    "not contiguous, in place": Mutation(
        before(lambda s, x: None if x.is_contiguous() else x.add_(0).mul_(2).div_(2).abs_()), "layouts", ".*"
    ),
    "channels_last": Mutation(
        inverse(
            lambda s, z, x, d: (x + z.is_contiguous(memory_format=torch.channels_last) * (not z.is_contiguous()), d)
        ),
        "layouts",
        "x of inverse of an input in channels_last format differs",
    ),
    "expanded": Mutation(
        forward(lambda s, x, z, d: (z, 2 * d if x.stride(0) == 0 else d)), "layouts", "of forward of an expanded input"
    ),
    "with gradients": Mutation(
        forward(lambda s, x, z, d: (z, 2 * d) if x.requires_grad and not x.is_leaf else (z, d)),
        "layouts",
        "log_det of forward of an input that requires gradients differs",
    ),
    "large batches": Mutation(
        forward(lambda s, x, z, d: (z, d * (len(x) <= 16))), "batch_sizes", "log_det of forward of 130 items differs"
    ),
    "empty batches": Mutation(
        mutants.NeverEmpty, "batch_sizes", r"log_det of inverse of an empty batch has shape \(1,\) instead of \(0,\)"
    ),
    "log_det in train mode": Mutation(mutants.Trained, "train", r"log_det of forward in train mode is 2\.0 times"),
    "train() moves": Mutation(mutants.Switched, "train", r"train\(\) and eval\(\) changes log_scale by up to 0\.1"),
    "input in train mode": Mutation(in_train_mode(lambda x: x.mul_(2)), "arguments", "after the call in train mode"),
    "device of the inverse": Mutation(
        inverse(lambda s, z, x, d: (x, d + torch.zeros(len(z), device="cpu"))), "meta", "inverse raises .*device"
    ),
}

IMPURITIES = RANDOM | SETTINGS | STATE | INPUTS
