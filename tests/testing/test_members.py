"""Members of a transform that Compose and Flow use agree with forward and inverse."""

import re
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_flows.testing import CheckError, check_transform
from lightning_flows.transforms import Transform


class Flattened(Transform):
    """z = e^s x for events (2, 3), flattened."""

    def __init__(self) -> None:
        super().__init__((2, 3))
        self.log_scale = torch.nn.Parameter(torch.tensor([0.3, -0.8, 0.1]))
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor, context: Any = None) -> Any:
        return (x * self.log_scale.exp()).flatten(1), 2 * self.log_scale.sum()

    def inverse(self, z: Tensor, context: Any = None) -> Any:
        return z.unflatten(1, (2, 3)) / self.log_scale.exp(), -2 * self.log_scale.sum()

    @property
    def latent_shape(self) -> tuple[int, ...]:
        return (6,)

    def output_shape(self, event_shape: Any) -> tuple[int, ...]:
        return (6,)

    def check(self, x: Tensor, context: Any, shape: Any) -> None:
        """Accept all shapes, as Compose does."""


class Preserving(Flattened):
    volume_preserving = True


class OtherLogDet(Flattened):
    def forward_reported(self, x: Tensor, context: Any = None) -> Any:
        z, log_det = self(x)
        return z, 2 * log_det, []


class OtherValue(Flattened):
    def inverse_reported(self, z: Tensor, context: Any = None) -> Any:
        x, log_det = self.inverse(z)
        return x + 0.1, log_det, []


class NoReports(Flattened):
    def forward_reported(self, x: Tensor, context: Any = None) -> Any:
        return self(x)


class OtherDecode(Flattened):
    def decode(self, z: Tensor, context: Any = None, solver: Any = None) -> Tensor:
        return 1.1 * self.inverse(z)[0]


class Counting(Flattened):
    def inverse(self, z: Tensor, context: Any = None) -> Any:
        self.calls.add_(1.0 if self.training else 0.0)
        return super().inverse(z)


class CountingDecode(Flattened):
    def decode(self, z: Tensor, context: Any = None, solver: Any = None) -> Tensor:
        self.calls.add_(1.0 if self.training else 0.0)
        return self.inverse(z)[0]


class OtherOutputShape(Flattened):
    def output_shape(self, event_shape: Any) -> tuple[int, ...]:
        return tuple(event_shape)


class OtherLatentShape(Flattened):
    latent_shape = (None, 3)  # type: ignore[assignment]


class AnyLatentShape(Flattened):
    latent_shape = (None,)  # type: ignore[assignment]


MEMBERS = {"reported", "decode", "shapes_of_events", "inverse_state"}
FAULTS = {
    Preserving: (
        "volume_preserving",
        r"log_det of forward differs from that of volume_preserving = True by up to 0\.8",
    ),
    OtherLogDet: ("reported", r"log_det of forward_reported differs from that of forward by up to 0\.8"),
    OtherValue: ("reported", r"x of inverse_reported differs from that of inverse by up to 0\.1"),
    NoReports: ("reported", r"forward_reported returns 2 values instead of z, log_det and a list of reports"),
    OtherDecode: ("decode", "x of decode differs from that of inverse by up to"),
    Counting: ("inverse_state", r"inverse in train mode changes calls by up to 1\.0"),
    CountingDecode: ("inverse_state", r"decode in train mode changes calls by up to 1\.0"),
    OtherOutputShape: ("shapes_of_events", r"output_shape\(\(2, 3\)\) is \(2, 3\) instead of \(6,\), that of z"),
    OtherLatentShape: ("shapes_of_events", r"latent_shape is \(None, 3\) instead of \(6,\), that of z"),
}


def data() -> Tensor:
    return torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", [Flattened, AnyLatentShape])
def test_a_transform_whose_members_agree_passes(kind: type[Flattened]) -> None:
    assert set(check_transform(kind(), data(), build=kind)) > MEMBERS


@pytest.mark.parametrize("kind", FAULTS, ids=lambda kind: kind.__name__)
def test_a_member_that_disagrees_is_found(kind: type[Flattened]) -> None:
    check, message = FAULTS[kind]
    with pytest.raises(CheckError) as found:
        check_transform(kind(), data(), build=kind)
    assert [fault.check for fault in found.value.faults] == [check], found.value
    assert re.search(message, found.value.faults[0].message), found.value
