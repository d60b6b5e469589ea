"""Items of a batch are mapped and drawn with their own context, and its derivatives are those of finite differences."""

import math
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_flows.testing import CheckError, check_flow, check_transform

Generator = torch.Generator | None


class Shifted(nn.Module):
    """z = e^s x − a context, for values with noise of a factor per item; the context has an optional mask."""

    def __init__(self, own: Callable[[Any], Any] = lambda context: context) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor([0.3, -0.5]))
        self.own = own

    def forward(self, x: Tensor, context: Any) -> tuple[Tensor, Tensor]:
        return x * self.log_scale.exp() - self.own(context), self.log_scale.sum().expand(len(x))

    def inverse(self, z: Tensor, context: Any) -> tuple[Tensor, Tensor]:
        return (z + self.own(context)) / self.log_scale.exp(), -self.log_scale.sum().expand(len(z))


class Conditional(Shifted):
    """The density of a normal z; ``drawn`` are the contexts of samples."""

    def __init__(self, drawn: Callable[[Tensor], Tensor] = lambda context: context, **options: Any) -> None:
        super().__init__(**options)
        self.drawn = drawn

    def log_prob(self, x: Tensor, context: Tensor) -> Tensor:
        z, log_det = self(x, context)
        return log_det - 0.5 * (z.square() + math.log(2 * math.pi)).sum(1)

    def sample(self, num: int, context: Tensor, *, generator: Generator = None) -> Tensor:
        z = torch.randn(num, 2, generator=generator, dtype=self.log_scale.dtype)
        return self.inverse(z, self.drawn(context))[0]


class WithLogProb(Conditional):
    """A flow whose only wrong contexts are those of sample_and_log_prob."""

    def sample_and_log_prob(self, num: int, context: Tensor, *, generator: Generator = None) -> tuple[Tensor, Tensor]:
        x = Conditional().to(context).sample(num, context, generator=generator)
        return x, self.log_prob(x, self.drawn(context))

    def sample(self, num: int, context: Tensor, *, generator: Generator = None) -> Tensor:
        return Conditional().to(context).sample(num, context, generator=generator)


def data(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape) + shape[-1]))


def faults(check: Callable[..., Any], module: nn.Module, context: Any) -> dict[str, str]:
    with pytest.raises(CheckError) as found:
        check(module, data(5, 2), context)
    return {fault.check: fault.message for fault in found.value.faults}


def test_a_flow_of_contexts_passes() -> None:
    assert "contexts" in check_flow(WithLogProb(), data(5, 2), data(5, 2))
    assert "contexts" in check_flow(Conditional(), data(5, 2), data(5, 2), num_samples=20)
    assert "contexts" in check_flow(Conditional(), data(5, 2), data(2))  # shared by all items


@pytest.mark.parametrize(
    "drawn", [lambda c: c[:1], lambda c: c.roll(1, 0), lambda c: c.mean(0), lambda c: c.sort(0)[0]]
)
def test_samples_with_contexts_of_other_items_are_found(drawn: Callable[[Tensor], Tensor]) -> None:
    found = faults(check_flow, Conditional(drawn), data(5, 2))
    assert [*found] == ["contexts"]
    assert re.match(r"5000 samples of item \d in a batch do not follow those of its context alone", found["contexts"])


def test_log_probs_with_contexts_of_other_items_are_found() -> None:
    found = faults(check_flow, WithLogProb(lambda c: c.roll(1, 0)), data(5, 2))
    assert [*found] == ["sample_log_prob"]


def test_a_detached_context_is_found() -> None:
    module = Shifted(lambda context: context.detach())
    found = faults(check_transform, module, data(5, 2))
    assert [*found] == ["forward_gradient", "inverse_gradient"]
    for message in found.values():
        assert re.match(r"the derivative of [zx] with respect to the context is 0\.0 .*: is it detached\?", message)
    found = faults(check_flow, Conditional(own=lambda context: context.detach()), data(5, 2))
    assert [*found] == ["log_prob_gradient"]


def normalized(context: dict[str, Tensor]) -> Tensor:
    return context["weights"] / context["weights"].abs().sum(1, keepdim=True).clamp_min(1e-30).sqrt()


@pytest.mark.parametrize("own", [lambda c: c["shift"] * c["mask"].bool(), lambda c: c["shift"] * c["mask"], normalized])
def test_whole_values_of_contexts_need_no_derivative(own: Callable[[Any], Any]) -> None:
    """A step of a mask, or from a weight of zero, would change what it means."""
    mask, weights = torch.tensor([[0.0, 1.0]]).repeat(5, 1), data(5, 2)
    weights[1] = 0  # where the derivative of the root is infinite
    context = {"shift": data(5, 2), "mask": mask, "label": torch.arange(5), "weights": weights}
    assert check_transform(Shifted(own), data(5, 2), context)
