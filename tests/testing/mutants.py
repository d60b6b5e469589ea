"""A correct transform, and faulty ones that differ from it in one line."""

import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Result = tuple[Tensor, Tensor]
Change = Callable[..., Any]


class Correct(nn.Module):
    """z = asinh(e^s (x − c) + t) for events (2, H, W), with a scale and an offset per channel."""

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor([0.3, -0.8]).reshape(2, 1, 1))
        self.shift = nn.Parameter(torch.tensor([0.1, -0.2]).reshape(2, 1, 1))
        self.register_buffer("center", torch.tensor([0.4, -0.6]).reshape(2, 1, 1))

    def forward(self, x: Tensor) -> Result:
        y = self.log_scale.exp() * (x - self.center) + self.shift
        log_det = self.log_scale.sum() * x[0, 0].numel() - 0.5 * y.square().log1p().sum((1, 2, 3))
        return y.asinh(), log_det

    def inverse(self, z: Tensor) -> Result:
        y = z.sinh()
        x = (y - self.shift) * (-self.log_scale).exp() + self.center
        return x, 0.5 * y.square().log1p().sum((1, 2, 3)) - self.log_scale.sum() * x[0, 0].numel()


class Linear(Correct):
    """z = e^s (x − c) + t, whose log-determinant is the same for all items."""

    pixels = True

    def forward(self, x: Tensor) -> Result:
        log_det = self.log_scale.sum().expand(len(x)) * (x[0, 0].numel() if self.pixels else 1)
        return self.log_scale.exp() * (x - self.center) + self.shift, log_det

    def inverse(self, z: Tensor) -> Result:
        log_det = -self.log_scale.sum().expand(len(z)) * (z[0, 0].numel() if self.pixels else 1)
        return (z - self.shift) * (-self.log_scale).exp() + self.center, log_det


def forward(change: Change, base: type[Correct] = Correct) -> type[Correct]:
    """A transform whose forward returns ``change(self, x, z, log_det)``."""

    class Mutant(base):  # type: ignore[misc,valid-type]
        def forward(self, x: Tensor) -> Any:
            return change(self, x, *super().forward(x))

    return Mutant


def inverse(change: Change) -> type[Correct]:
    """A transform whose inverse returns ``change(self, z, x, log_det)``."""

    class Mutant(Correct):
        def inverse(self, z: Tensor) -> Any:
            return change(self, z, *super().inverse(z))

    return Mutant


def before(change: Callable[[Any, Tensor], Any], base: type[Correct] = Correct) -> type[Correct]:
    """A transform that first calls ``change(self, x)``, in both directions."""

    class Mutant(base):  # type: ignore[misc,valid-type]
        count = 0

        def forward(self, x: Tensor) -> Any:
            change(self, x)
            return super().forward(x)

        def inverse(self, z: Tensor) -> Any:
            change(self, z)
            return super().inverse(z)

    return Mutant


class HalfCounted(Linear):
    pixels = False


class Transposed(Correct):
    def inverse(self, z: Tensor) -> Result:
        return super().inverse(z.flip(1))


class Clamped(Correct):
    def inverse(self, z: Tensor) -> Result:
        return super().inverse(z.clamp(-1, 1))


class Single(Correct):
    def forward(self, x: Tensor) -> Result:
        z, log_det = super().forward(x.float().to(x.dtype))
        return z.float().to(x.dtype), log_det


class BatchMean(Correct):
    def forward(self, x: Tensor) -> Result:
        z, log_det = super().forward(x)
        return z - 0.1 * x.mean(0), log_det


class WrongBackward(Correct):
    class Twice(torch.autograd.Function):
        @staticmethod
        def forward(_ctx: Any, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(_ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
            return 2 * gradient

    def forward(self, x: Tensor) -> Result:
        z, log_det = super().forward(x)
        return z, self.Twice.apply(log_det)


class HalfDetached(Correct):
    def forward(self, x: Tensor) -> Result:
        z, log_det = super().forward(x)
        return z, log_det - x[0, 0].numel() * (self.log_scale - self.log_scale.detach()).sum()


class Unregistered(Correct):
    def __init__(self) -> None:
        super().__init__()
        center = self.center
        del self.center
        self.center = center


class WithOption(Correct):
    """A number that is drawn at construction, and not in the state_dict."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = float(torch.rand(())) + 0.5

    def forward(self, x: Tensor) -> Result:
        return super().forward(self.factor * x)

    def inverse(self, z: Tensor) -> Result:
        x, log_det = super().inverse(z)
        return x / self.factor, log_det


class Dropped(Correct):
    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        found = super().state_dict(*args, **kwargs)
        del found["center"]
        return found

    def load_state_dict(self, state: Any, strict: bool = True, assign: bool = False) -> Any:
        return super().load_state_dict(state, strict=False)


class Captured(Correct):
    def __init__(self) -> None:
        super().__init__()
        self.scale = lambda: self.log_scale.exp()

    def forward(self, x: Tensor) -> Result:
        z, log_det = super().forward(x)
        return (z.sinh() * self.scale() / self.log_scale.exp()).asinh(), log_det


class Shared(Correct):
    def __deepcopy__(self, memo: dict[int, Any]) -> "Shared":
        twin = Shared()
        twin.log_scale = self.log_scale
        return twin


class Locked(Correct):
    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()


class OnHost(Correct):
    def forward(self, x: Tensor) -> Result:
        z, log_det = super().forward(x)
        return z, log_det + torch.zeros(len(x), dtype=x.dtype)


def replace(self: Correct, x: Tensor) -> None:
    self.center = self.center + 0.1


def cache(self: Correct, x: Tensor) -> None:
    self.last = x


def count(self: Correct, x: Tensor) -> None:
    self.count += 1


def grow(self: Correct, x: Tensor) -> None:
    self.log_scale.data.mul_(1.01)
