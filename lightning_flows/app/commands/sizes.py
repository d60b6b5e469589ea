"""Sizes of the runs of tables 1 to 3 on small images: all rows of a table have equal parameters within 2 %."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

SIZES = {"8x8": "size/small.yaml", "16x16": "size/small16.yaml"}
"""Configs of the data and of the training."""
LEVELS = "--model.flow.num_levels=2"
NET = {"width": 24, "depth": 2, "growth": 24}
"""Dense nets of variational dequantization."""
CONTEXT = {"width": 16, "depth": 2, "growth": 16}
"""Its encoder of images."""


class Glow(NamedTuple):
    """Width of the dense nets of Table 1, and their growth on images of each size."""

    width: int
    growth: Mapping[str, int]


GLOW = {
    3: {
        "conv1x1": Glow(41, {"8x8": 19, "16x16": 19}),
        "emerging": Glow(40, {"8x8": 17, "16x16": 17}),
        "woodbury": Glow(40, {"8x8": 19, "16x16": 17}),
        "conv_exponential": Glow(39, {"8x8": 17, "16x16": 16}),
    },
    1: {
        "conv1x1": Glow(64, {"8x8": 22, "16x16": 22}),
        "emerging": Glow(64, {"8x8": 17, "16x16": 17}),
        "woodbury": Glow(64, {"8x8": 21, "16x16": 17}),
        "conv_exponential": Glow(64, {"8x8": 16, "16x16": 14}),
    },
}
"""Table 1, by the side of the kernels of the nets."""
WIDTHS = {
    "coupling": {"uniform": 65, "variational": 53},
    "residual": {"uniform": 54, "variational": 44},
    "residual_equal_memory": {"uniform": 97, "variational": 80},
    "csf": {"uniform": 34, "variational": 26},
    "no_basis": {"variational": 33},
}
"""Hidden channels of the flows of tables 2 and 3, by dequantization: fewer if that is variational."""
STEPS = {"residual_equal_memory": 4, "no_autoregressive": 19}
"""Steps per level, if not 8. The layer without an autoregressive function has no width."""


class Pixels(NamedTuple):
    """Sizes of a flow that is autoregressive over pixels, and its training.

    Smaller batches allow more steps in the CPU time of the Sylvester flow.
    """

    width: int
    num_blocks: int
    window: int
    head_width: int
    max_steps: int
    batch_size: int


PIXELS = {
    "8x8": Pixels(100, 3, 5, head_width=248, max_steps=8000, batch_size=32),
    "16x16": Pixels(100, 3, 5, head_width=224, max_steps=12000, batch_size=8),
}
"""A flow that is not in the paper."""


def small_glow(kernel_size: int, mixing: str, size: str) -> list[str]:
    """Config and options of a row of Table 1."""
    width, growth = GLOW[kernel_size][mixing]
    net = {"width": width, "depth": 2, "growth": growth[size]}
    return [
        SIZES[size],
        LEVELS,
        "--model.flow.steps_per_level=4",
        *_sizes("flow.net", net | {"kernel_size": kernel_size}),
        *_dequantization(kernel_size),
    ]


def small_residual(kind: str, noise: str, size: str) -> list[str]:
    """Config and options of a row of tables 2 and 3."""
    width = WIDTHS.get(kind, {}).get(noise)
    return [
        SIZES[size],
        LEVELS,
        f"--model.flow.steps_per_level={STEPS.get(kind, 8)}",
        *([f"--model.flow.hidden_channels={width}"] if width else []),
        *_sizes("flow.split", {"width": 32, "depth": 2, "growth": 32}),
        *(_dequantization(3) if noise == "variational" else []),
        *(["--model.flow.eval_probes=1"] if kind.startswith("residual") else []),  # of the validation
    ]


def small_pixels(size: str) -> list[str]:
    """Config and options of the flow that is autoregressive over pixels."""
    found = PIXELS[size]
    return [
        SIZES[size],
        *_sizes("flow.sizes", {"width": found.width, "num_blocks": found.num_blocks}),
        *_sizes("flow", {"window": found.window, "head_width": found.head_width}),
        "--model.flow.value_map=spline",
        f"--trainer.max_steps={found.max_steps}",
        f"--data.batch_size={found.batch_size}",
    ]


def small_test(kind: str, size: str) -> list[str]:
    """Options of ``test``: exact log-determinants of residual flows at 8x8, where events have at most 192 values."""
    if not kind.startswith("residual"):
        return []
    return ["--model.flow.exact_dims=192"] if size == "8x8" else ["--model.flow.eval_probes=4"]


def _dequantization(kernel_size: int) -> Sequence[str]:
    extra = {"kernel_size": kernel_size}
    return [
        "--model.dequantization.num_steps=2",
        *_sizes("dequantization.net", NET | extra),
        *_sizes("dequantization.context", CONTEXT | extra),
    ]


def _sizes(part: str, sizes: Mapping[str, int]) -> list[str]:
    return [f"--model.{part}.{name}={value}" for name, value in sizes.items()]
