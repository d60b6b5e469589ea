"""Faulty transforms that depend on more than the values of their input, or change more than their results."""

import random
import types
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tests.testing.mutants import Correct, Linear, Result, before

CALLS = {"forward": 0}
LAST: list[Tensor] = []
MEAN = torch.zeros(())


def variant(setup: Callable[[Any], Any], change: Callable[[Any, Tensor], Any] = lambda s, x: None) -> type[Correct]:
    """A transform that calls ``setup(self)`` in its constructor, and ``change(self, x)`` before each call."""

    class Mutant(before(change)):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            setup(self)

    return Mutant


def offset(store: Callable[[Any, Tensor], Any], load: Callable[[Any], Tensor]) -> type[Correct]:
    """A transform with a random offset that ``store(self, tensor)`` keeps and ``load(self)`` returns."""

    class Mutant(Correct):
        def __init__(self) -> None:
            super().__init__()
            store(self, torch.rand(2, 1, 1))

        def forward(self, x: Tensor) -> Result:
            z, log_det = super().forward(x)
            return z + load(self).to(z), log_det

        def inverse(self, z: Tensor) -> Result:
            return super().inverse(z - load(self).to(z))

    return Mutant


def counter() -> Callable[..., None]:
    calls = 0

    def count(*_: Any) -> None:
        nonlocal calls
        calls += 1

    return count


def count_globally(self: Correct, x: Tensor) -> None:
    CALLS["forward"] += 1


def keep_globally(self: Correct, x: Tensor) -> None:
    LAST[:] = [x.detach().clone()]


def count_in_class(self: Any, x: Tensor) -> None:
    type(self).count += 1


def keep_in_default(self: Any, x: Tensor, seen: list[int] = []) -> None:  # noqa: B006 - the fault
    seen.append(len(x))


def in_train_mode(change: Callable[[Tensor], Any]) -> type[Correct]:
    return before(lambda s, x: change(x) if s.training else None)


class GlobalTensor(Correct):
    """The inverse changes a tensor in a global, which both directions name."""

    def forward(self, x: Tensor) -> Result:
        z, log_det = super().forward(x)
        return z + 0 * MEAN.to(z), log_det

    def inverse(self, z: Tensor) -> Result:
        MEAN.copy_(z.detach().mean())
        return super().inverse(z + 0 * MEAN.to(z))


class Trained(Linear):
    """A log-determinant that is doubled in train mode."""

    def forward(self, x: Tensor) -> Result:
        z, log_det = super().forward(x)
        return z, (1 + self.training) * log_det


class Switched(Correct):
    def train(self, mode: bool = True) -> Any:
        self.log_scale.data.add_(0.1 * mode)
        return super().train(mode)


class SharedResults(nn.Module):
    """z = −log(10 − x) for the first value, whose log_det is z: here, the same memory."""

    def forward(self, x: Tensor) -> Result:
        first = x.new_zeros(x.shape[1:])
        first[0, 0, 0] = 1
        z = torch.where(first > 0, -(10 - x).log(), x)
        return z, z[:, 0, 0, 0]

    def inverse(self, z: Tensor) -> Result:
        first = z.new_zeros(z.shape[1:])
        first[0, 0, 0] = 1
        return torch.where(first > 0, 10 - (-z).exp(), z), -z[:, 0, 0, 0]


class NeverEmpty(nn.Module):
    """z = −x, with a log_det for an empty batch."""

    def forward(self, x: Tensor) -> Result:
        return -x, x.new_zeros(len(x))

    def inverse(self, z: Tensor) -> Result:
        return -z, z.new_zeros(max(1, len(z)))


class OfBuffer(Linear):
    """A log_det that is a row of a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("log_dets", torch.full((200,), -3.0))

    def forward(self, x: Tensor) -> Result:
        return super().forward(x)[0], self.log_dets[: len(x)]


class Bisection(nn.Module):
    """z = x + x³, whose inverse has no derivatives."""

    def forward(self, x: Tensor) -> Result:
        return x + x**3, (1 + 3 * x.square()).log().flatten(1).sum(1)

    @torch.no_grad()
    def inverse(self, z: Tensor) -> Result:
        low, high = -z.abs() - 1, z.abs() + 1
        for _ in range(80):
            middle = (low + high) / 2
            small = middle + middle**3 < z
            low, high = torch.where(small, middle, low), torch.where(small, high, middle)
        return low, -(1 + 3 * low.square()).log().flatten(1).sum(1)


class Scripted(nn.Module):
    """z = (x₁, x₂ + f(x₁)) with a module of torch.jit.script: correct."""

    def __init__(self) -> None:
        super().__init__()
        self.f = torch.jit.script(nn.Conv2d(1, 1, 1))

    def forward(self, x: Tensor) -> Result:
        return torch.cat([x[:, :1], x[:, 1:] + self.f(x[:, :1])], 1), x.new_zeros(len(x))

    def inverse(self, z: Tensor) -> Result:
        return torch.cat([z[:, :1], z[:, 1:] - self.f(z[:, :1])], 1), z.new_zeros(len(z))


class Rotated(nn.Module):
    """torch's orthogonal parametrization, whose base is computed in float32: as exact as that."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.utils.parametrizations.orthogonal(nn.Linear(2, 2, bias=False))

    def forward(self, x: Tensor) -> Result:
        return torch.einsum("ij,bjhw->bihw", self.layer.weight, x), x.new_zeros(len(x))

    def inverse(self, z: Tensor) -> Result:
        return torch.einsum("ji,bjhw->bihw", self.layer.weight, z), z.new_zeros(len(z))


class OldSpectralNorm(Scripted):
    """torch.nn.utils.spectral_norm, which keeps its weight with its graph."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.f = torch.nn.utils.spectral_norm(nn.Conv2d(1, 1, 1))


class RandomState(Correct):
    """A generator of its own that is used in eval mode, without an effect on results."""

    def __init__(self) -> None:
        super().__init__()
        self.own, self.space = random.Random(0), types.SimpleNamespace(last=None)

    def forward(self, x: Tensor) -> Result:
        self.own.random()
        return super().forward(x)
