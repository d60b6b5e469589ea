"""Impure transforms are found and leave the process as it was; what is only unusual passes."""

import random
import re
import warnings

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lightning_flows.testing import CheckError, check_transform
from lightning_flows.testing.inputs import check_layouts
from lightning_flows.testing.purity import check_memory
from lightning_flows.testing.subject import Call, Subject
from lightning_flows.testing.surroundings import generators, settings
from tests.testing.impure_mutants import Bisection, OldSpectralNorm, Rotated, Scripted
from tests.testing.impurities import IMPURITIES
from tests.testing.mutants import Correct
from tests.testing.mutations import Mutation


def data() -> Tensor:
    return torch.randn(6, 2, 2, 3, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("mutation", IMPURITIES.values(), ids=IMPURITIES.keys())
def test_every_impurity_is_found_and_the_process_stays_as_it_is(mutation: Mutation) -> None:
    transform = mutation.build()
    before = generators(), settings()
    with pytest.raises(CheckError) as found:
        check_transform(transform, data(), build=mutation.build)
    assert (generators(), settings()) == before
    messages = {fault.check: fault.message for fault in found.value.faults}
    assert mutation.check in messages, found.value
    assert re.search(mutation.message, messages[mutation.check]), messages[mutation.check]


def test_seeding_is_found_whatever_the_state() -> None:
    """Also if the generators are in the state that the transform sets."""
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)
    for name in ("torch", "Python", "NumPy"):
        with pytest.raises(CheckError, match=f"seeds the global generator of {name}"):
            check_transform(IMPURITIES[f"seeds {name}"].build(), data())


def test_scripted_modules_pass() -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*torch.jit.script. is deprecated", FutureWarning)  # after torch 2.6
        transform = Scripted()
    assert "meta" in check_transform(transform, data())


def test_errors_as_small_as_those_of_float32_come_with_advice() -> None:
    with pytest.raises(CheckError, match=r"round_trip: .* as small as round-off of float32: .* pass tolerance=1e-05"):
        check_transform(Rotated(), data())
    assert check_transform(Rotated(), data(), tolerance=1e-5)


def test_an_inverse_without_derivatives_is_reported_with_advice() -> None:
    with pytest.raises(CheckError, match=r"Newton's method .* skip=\{'inverse_gradient'\}") as found:
        check_transform(Bisection(), data())
    assert [fault.check for fault in found.value.faults] == ["inverse_gradient"]
    assert check_transform(Bisection(), data(), skip={"inverse_gradient"})


def test_old_spectral_norm_can_only_not_be_copied() -> None:
    with pytest.raises(CheckError, match=r"stores f\.weight with its graph: use torch\.nn\.utils\.param") as found:
        check_transform(OldSpectralNorm(), data())
    assert [fault.check for fault in found.value.faults] == ["deepcopy"]


class WithContext(Correct):
    """Adds a context, and what ``change`` does to it."""

    def __init__(self, change: str = "") -> None:
        super().__init__()
        self.change = change

    def forward(self, x: Tensor, context: dict[str, Tensor]) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        z, log_det = super().forward(x)
        self.alter(context)
        return z + context["shift"][..., None, None], log_det

    def inverse(self, z: Tensor, context: dict[str, Tensor]) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        return super().inverse(z - context["shift"][..., None, None])

    def alter(self, context: dict[str, Tensor]) -> None:
        if self.change == "entry":
            context["seen"] = context["shift"]
        elif self.change == "label":
            context["label"] += 1
        elif self.change == "view":
            context["shift"].view(-1)


@pytest.mark.parametrize(
    ("change", "check", "message"),
    [
        ("entry", "arguments", r"adds .*arguments\[1\]\['seen'\]"),
        ("label", "arguments", r"changes arguments\[1\]\['label'\] by up to 1\.0"),
        ("view", "layouts", "raises RuntimeError: view"),
    ],
)
def test_contexts_are_checked_as_inputs_are(change: str, check: str, message: str) -> None:
    context = {"shift": torch.randn(6, 2), "label": torch.zeros(6, dtype=torch.long)}
    assert check_transform(WithContext(), data(), context)
    with pytest.raises(CheckError) as found:
        check_transform(WithContext(change), data(), context)
    assert re.search(message, {fault.check: fault.message for fault in found.value.faults}[check])


class Plain(nn.Module):
    """Views of the input, as those of reshape, pass."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x.transpose(-1, -2), x.new_zeros(len(x))

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return z.transpose(-1, -2), z.new_zeros(len(z))


def test_views_of_the_input_pass() -> None:
    assert check_transform(Plain(), data())


class Padded(nn.Module):
    """Results with NaN where nothing is defined."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x.masked_fill(torch.arange(x.shape[1]) == 0, torch.nan), x.new_full((len(x),), torch.nan)


@torch.no_grad()
def test_nan_is_not_shared_memory_and_no_change_of_an_input() -> None:
    x = torch.randn(3, 4, dtype=torch.float64).masked_fill(torch.arange(4) == 0, torch.nan)
    subject = Subject(Padded().eval(), None, [Call("forward", (x,), ("z", "log_det"))])
    check_memory(subject)
    check_layouts(subject, 1e-8)
