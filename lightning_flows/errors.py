"""Errors that a user can act on.

The command line prints these as one line and exits with status 1 or 2; anything else is a bug and keeps its traceback.
"""

import math
from numbers import Integral


class FlowsError(Exception):
    """Base of all errors whose message is meant for the user."""


class ShapeError(FlowsError, ValueError):
    """A shape, size or number of channels that a layer or model does not accept."""


class InputTypeError(FlowsError, TypeError):
    """A value of the wrong type, such as an integer tensor instead of a floating-point one."""


class UsageError(FlowsError, ValueError):
    """An option with an invalid value."""


class ConfigError(UsageError):
    """A config that cannot be read, is not YAML, or has a missing base."""


class DataError(FlowsError, ValueError):
    """A dataset that is missing, empty or broken."""


class CheckpointError(FlowsError, ValueError):
    """A checkpoint that is truncated, unsafe, or from another model."""


class RefusedImportError(FlowsError, ImportError):
    """A module that is named in a config and may not be imported."""


class OutputError(FlowsError, OSError):
    """A file or folder that cannot be written, or that exists and must not be overwritten."""


class RankError(FlowsError, RuntimeError):
    """Processes of one run that hold different models."""


class ConvergenceError(FlowsError, ArithmeticError):
    """An iterative inverse that did not reach its tolerance; ``residual`` is the value reached."""

    def __init__(self, message: str, residual: float) -> None:
        super().__init__(message)
        self.residual = residual


class AuditError(FlowsError, AssertionError):
    """A trained model that fails a check of ``audit``."""


class NonFiniteError(FlowsError, ArithmeticError):
    """NaN or infinity where a finite number was expected."""


def check_sizes(minimum: int = 1, **sizes: int) -> None:
    """Raise UsageError unless each size is an integer of at least ``minimum``."""
    for name, size in sizes.items():
        if not isinstance(size, Integral):
            raise UsageError(f"expected an integer for {name}; got {size}")
        if size < minimum:
            raise UsageError(f"expected {name} of at least {minimum}; got {size}")


def check_positive(**values: float) -> None:
    """Raise UsageError unless each value is finite and above 0."""
    for name, value in values.items():
        if not 0 < value < math.inf:  # False for NaN
            raise UsageError(f"expected a positive, finite {name}; got {value}")


def check_fractions(val_fraction: float, test_fraction: float) -> None:
    """Raise UsageError unless both are at least 0, and at most 1 together."""
    if not (val_fraction >= 0 and test_fraction >= 0 and val_fraction + test_fraction <= 1 + 1e-9):  # False for NaN
        raise UsageError(
            f"expected val_fraction and test_fraction of at least 0, and at most 1 together; got {val_fraction} and "
            f"{test_fraction}"
        )


def shortened(text: str) -> str:
    r"""Text of another library's error for a sentence of ours: on one line, and at most 200 characters of it.

    >>> shortened("no\n  codec")
    'no codec'
    """
    return " ".join(text.split())[:200]
