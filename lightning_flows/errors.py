"""Errors that a person can act on.

The command line prints these as one line and exits with status 1; anything else is a bug and keeps its traceback.
Each message says what was expected, what came, and what to do.
"""


class FlowsError(Exception):
    """Base of all errors whose message is meant for the person at the keyboard."""


class ShapeError(FlowsError, ValueError):
    """A shape, size or number of channels that a layer or model cannot take."""


class UsageError(FlowsError, ValueError):
    """An option whose value makes no sense."""


class ConfigError(UsageError):
    """A config that cannot be read, is not YAML, or has a missing base."""


class DataError(FlowsError, ValueError):
    """A data set that is missing, empty or broken."""


class CheckpointError(FlowsError, ValueError):
    """A checkpoint that is truncated, unsafe, or of another model."""


class RefusedImportError(FlowsError, ImportError):
    """A module that is named in a config and may not be imported."""


class OutputError(FlowsError, OSError):
    """A file or folder that cannot be written, or that exists and must not be overwritten."""


class RankError(FlowsError, RuntimeError):
    """Processes that train together and hold different models."""


class InputTypeError(FlowsError, TypeError):
    """A tensor of a type that a layer or model cannot take, such as integers where reals are needed."""


class ConvergenceError(FlowsError, ArithmeticError):
    """An iterative inverse that did not reach its tolerance; ``residual`` holds what it reached."""

    def __init__(self, message: str, residual: float) -> None:
        super().__init__(message)
        self.residual = residual


class NonFiniteError(FlowsError, ArithmeticError):
    """NaN or infinity where a finite number was expected."""
