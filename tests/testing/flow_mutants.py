"""A correct flow, and faulty ones that differ from it in one line."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

Generator = torch.Generator | None


class Correct(nn.Module):
    """The density of x = sinh((z − t) e^−s) for standard normal z, with D values."""

    def __init__(self, size: int = 2) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.linspace(0.2, -0.3, size))
        self.shift = nn.Parameter(torch.linspace(-0.4, 0.3, size))
        self.register_buffer("drawn", torch.zeros(()))

    def encode(self, x: Tensor) -> Tensor:
        return x.asinh() * self.log_scale.exp() + self.shift

    def decode(self, z: Tensor) -> Tensor:
        return ((z - self.shift) * (-self.log_scale).exp()).sinh()

    def latent_log_prob(self, z: Tensor) -> Tensor:
        return -0.5 * (z.square() + math.log(2 * math.pi)).sum(1)

    def log_det(self, x: Tensor) -> Tensor:
        return self.log_scale.sum() - 0.5 * x.square().log1p().sum(1)

    def log_prob(self, x: Tensor) -> Tensor:
        return self.latent_log_prob(self.encode(x)) + self.log_det(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.log_prob(x)

    def noise(self, num: int, temperature: float, generator: Generator) -> Tensor:
        like = self.shift
        return temperature * torch.randn(num, len(like), generator=generator, dtype=like.dtype, device=like.device)

    def sample(self, num: int, *, temperature: float = 1.0, generator: Generator = None) -> Tensor:
        return self.decode(self.noise(num, temperature, generator))

    def sample_and_log_prob(self, num: int, *, generator: Generator = None) -> tuple[Tensor, Tensor]:
        z = self.noise(num, 1.0, generator)
        x = self.decode(z)
        return x, self.latent_log_prob(z) + self.log_det(x)


def with_method(name: str, change: Callable[..., Any], size: int = 2) -> Callable[[], nn.Module]:
    """Build a flow whose method returns ``change(self, what the correct one returns, *arguments)``."""

    def method(self: Correct, *args: Any, **kwargs: Any) -> Any:
        return change(self, getattr(Correct, name)(self, *args, **kwargs), *args)

    kind = type("Mutant", (Correct,), {name: method})
    if name == "sample":

        def sample(self: Correct, num: int, *, temperature: float = 1.0, generator: Generator = None) -> Any:
            return method(self, num, temperature=temperature, generator=generator)

        kind.sample = sample  # type: ignore[attr-defined]
    return lambda: kind(size)


class NoTemperature(Correct):
    def noise(self, num: int, temperature: float, generator: Generator) -> Tensor:
        return super().noise(num, 1.0, generator)


class SquaredTemperature(Correct):
    def noise(self, num: int, temperature: float, generator: Generator) -> Tensor:
        return super().noise(num, temperature**2, generator)


class NoGenerator(Correct):
    def noise(self, num: int, temperature: float, generator: Generator) -> Tensor:
        return super().noise(num, temperature, None)


class OneSeed(Correct):
    def noise(self, num: int, temperature: float, generator: Generator) -> Tensor:
        return super().noise(num, temperature, torch.Generator().manual_seed(0))


class Counted(Correct):
    def sample(self, num: int, *, temperature: float = 1.0, generator: Generator = None) -> Tensor:
        self.drawn.add_(num)
        return super().sample(num, temperature=temperature, generator=generator)


class Uniform(Correct):
    def noise(self, num: int, temperature: float, generator: Generator) -> Tensor:
        uniform = torch.rand(
            num, len(self.shift), generator=generator, dtype=self.shift.dtype, device=self.shift.device
        )
        return temperature * 12**0.5 * (uniform - 0.5)


class FlowMutation(NamedTuple):
    """A faulty flow, the check that finds it and a regular expression for the message of that check."""

    build: Callable[[], nn.Module]
    check: str
    message: str


FLOW_MUTATIONS = {
    "not normalized": FlowMutation(
        with_method("latent_log_prob", lambda s, p, z: p + math.log(2)), "normalization", r"to 2\.0 instead of 1"
    ),
    "without 2π": FlowMutation(
        with_method("latent_log_prob", lambda s, p, z: p + math.log(2 * math.pi)), "normalization", r"to 6\.283 instead"
    ),
    "log_det forgotten": FlowMutation(
        with_method("log_det", lambda s, d, x: 0 * d), "log_prob", "is 0: 0.0 instead of"
    ),
    "log_det sign": FlowMutation(with_method("log_det", lambda s, d, x: -d), "log_prob", "has the wrong sign"),
    "log_det sign, integrated": FlowMutation(
        with_method("log_det", lambda s, d, x: -d), "normalization", "of two values integrates to"
    ),
    "summed": FlowMutation(
        with_method("log_prob", lambda s, p, x: p.sum()), "shapes", r"log_prob has shape \(\) instead of \(6,\)"
    ),
    "per value": FlowMutation(with_method("log_prob", lambda s, p, x: x), "shapes", r"has shape \(6, 2\) instead of"),
    "mean over batch": FlowMutation(
        with_method("log_prob", lambda s, p, x: p + x.mean()), "independence", "of an item alone differs"
    ),
    "detached": FlowMutation(
        with_method("log_prob", lambda s, p, x: p.detach()), "log_prob_gradient", "of log_prob .* is 0.0 instead"
    ),
    "log_prob in float32": FlowMutation(
        with_method("log_prob", lambda s, p, x: p.float()), "dtypes", r"log_prob is torch\.float32 instead"
    ),
    "decode": FlowMutation(
        with_method("decode", lambda s, x, z: x + 0.1), "decode", r"decode\(encode\(x\)\) differs from x by up to 0\.1"
    ),
    "samples too wide": FlowMutation(
        with_method("sample", lambda s, x, n: 1.1 * x), "samples", "20000 samples do not follow log_prob: the mean of"
    ),
    "samples shifted": FlowMutation(
        with_method("sample", lambda s, x, n: x + 0.1), "samples", "20000 samples do not follow log_prob"
    ),
    "samples of a value": FlowMutation(
        with_method("sample", lambda s, x, n: 1.15 * x, size=1), "samples", "20000 samples do not follow log_prob"
    ),
    "samples of five values too wide": FlowMutation(
        with_method("sample", lambda s, x, n: 1.1 * x, size=5), "samples", "samples do not follow log_prob"
    ),
    "samples of five values shifted": FlowMutation(
        with_method("sample", lambda s, x, n: x + 0.1, size=5), "samples", "samples do not follow log_prob"
    ),
    "uniform noise": FlowMutation(Uniform, "samples", "samples do not follow log_prob"),
    "samples not finite": FlowMutation(
        with_method("sample", lambda s, x, n: x / (x[:, :1] > -2)), "samples", r"\d+ values of samples are not finite"
    ),
    "too few samples": FlowMutation(
        with_method("sample", lambda s, x, n: x[1:]), "shapes", r"6 samples have shape \(5, 2\) instead of \(6, 2\)"
    ),
    "samples in float32": FlowMutation(
        with_method("sample", lambda s, x, n: x.float()), "shapes", r"samples are torch\.float32 instead of"
    ),
    "sample's log_prob": FlowMutation(
        with_method("sample_and_log_prob", lambda s, p, n: (p[0], p[1] - 0.3)), "sample_log_prob", r"by up to 0\.3"
    ),
    "temperature ignored": FlowMutation(NoTemperature, "temperature", "sample ignores temperature"),
    "temperature squared": FlowMutation(
        SquaredTemperature, "temperature", r"at temperature 0\.5 is 0\.25 times that at"
    ),
    "temperature of samples": FlowMutation(
        with_method("sample", lambda s, x, n: x + torch.randn(n, 2, dtype=x.dtype)), "temperature", "at temperature 0"
    ),
    "global generator": FlowMutation(NoGenerator, "random", "sample in eval mode draws .* global generator of torch"),
    "one seed": FlowMutation(OneSeed, "generator", "samples of generators with different states are equal"),
    "count of samples": FlowMutation(Counted, "state", r"sample in eval mode changes drawn by up to 6\.0"),
    "seeds": FlowMutation(
        with_method("log_prob", lambda s, p, x: p + 0 * torch.manual_seed(0).initial_seed()),
        "random",
        "log_prob in eval mode seeds the global generator of torch",
    ),
    "default dtype of samples": FlowMutation(
        with_method("sample", lambda s, x, n: torch.set_default_dtype(torch.float32) or x),  # type: ignore[func-returns-value]
        "settings",
        "sample in eval mode changes the default dtype of the process",
    ),
    "large batch": FlowMutation(
        with_method("log_prob", lambda s, p, x: p * (len(x) < 100) if len(x) < 1000 else p),
        "batch_sizes",
        "log_prob of 130 items differs from those of each",
    ),
    "transposed": FlowMutation(
        with_method("log_prob", lambda s, p, x: p if x.is_contiguous() else 2 * p),
        "layouts",
        "log_prob of an input with",
    ),
}
