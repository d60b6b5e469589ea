"""The smallest faults of a sampler or density that check_flow finds, in 1 to 8 values.

    python benchmarks/power.py [--num-samples 20000]

The flow is a standard normal. Each fault is tried in growing sizes; a column shows the first one from which on all are
found by ``normalization`` or ``samples`` with each of three sets of samples, or – if none is. Scales and shifts are
those of every value, in standard deviations. Samples cannot show that a density is off by a constant.
"""

import argparse
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from lightning_flows.testing import CheckError, check_flow

SIZES = (1, 2, 3, 8)
FAULTS: dict[str, tuple[Callable[[float, Tensor], Tensor], tuple[float, ...]]] = {
    "scale of samples": (lambda fault, x: x * fault, (1.01, 1.02, 1.03, 1.04, 1.05, 1.06, 1.08, 1.1, 1.15)),
    "shift of samples": (lambda fault, x: x + fault, (0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.15)),
    "correlation of the first two values": (
        lambda fault, x: torch.cat([fault * x[:, 1:2] + (1 - fault**2) ** 0.5 * x[:, :1], x[:, 1:]], 1),
        (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8, 0.9),
    ),
    "constant in log_prob": (lambda fault, x: x, (0.0005, 0.001, 0.002, 0.005, 0.01, 0.1, 1.0)),
}

OTHERS = (
    *("log_prob_gradient", "dtypes", "repeatable", "state", "arguments", "memory", "random", "settings", "generator"),
    *("independence", "batch_sizes", "layouts", "state_dict", "deepcopy", "train", "meta"),
)
"""Checks that do not compare samples or integrals."""


class Normal(nn.Module):
    """A standard normal density with a fault of a given size; samples leave out some of a generator's numbers."""

    def __init__(self, size: int, kind: str, fault: float, start: int) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(size))
        self.kind, self.fault, self.start = kind, fault, start

    def log_prob(self, x: Tensor) -> Tensor:
        log_prob = -(0.5 * ((x * (-self.log_scale).exp()).square() + math.log(2 * math.pi)) + self.log_scale).sum(1)
        return log_prob + (self.fault if self.kind == "constant in log_prob" else 0.0)

    def sample(self, num: int, *, generator: torch.Generator | None = None) -> Tensor:
        torch.rand(self.start, generator=generator)
        noise = torch.randn(num, len(self.log_scale), generator=generator, dtype=self.log_scale.dtype)
        return FAULTS[self.kind][0](self.fault, noise * self.log_scale.exp())


def is_found(size: int, kind: str, fault: float, num_samples: int) -> bool:
    """Whether a fault is found with each of three sets of samples."""
    x = torch.randn(8, size, generator=torch.Generator().manual_seed(0))
    for start in range(3):
        try:
            check_flow(Normal(size, kind, fault, start), x, num_samples=num_samples, skip=OTHERS)
        except CheckError:
            continue
        return False
    return True


def smallest(size: int, kind: str, num_samples: int) -> str:
    """The first size of a fault from which on all are found."""
    if size == 1 and kind.startswith("correlation"):
        return ""
    found = ""
    for fault in reversed(FAULTS[kind][1]):
        if not is_found(size, kind, fault, num_samples):
            break
        found = f"{fault:g}"
    return found or "–"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num-samples", type=int, default=20_000)
    options = parser.parse_args()
    print("| smallest fault found | " + " | ".join(f"{size} value{'s'[: size > 1]}" for size in SIZES) + " |")
    print("|---|" + "---|" * len(SIZES))
    for kind in FAULTS:
        print(
            f"| {kind} | " + " | ".join(smallest(size, kind, options.num_samples) for size in SIZES) + " |", flush=True
        )


if __name__ == "__main__":
    main()
