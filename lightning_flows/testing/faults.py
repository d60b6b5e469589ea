"""Faults that checks find, and the error that reports all of them."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from lightning_flows.errors import UsageError
from lightning_flows.testing.surroundings import restored


class Fault(NamedTuple):
    """Name of a check, and what it found: what is wrong and by how much.

    >>> from lightning_flows.testing import check_transform
    >>> from lightning_flows.transforms import Affine
    >>> import torch
    >>> class Doubled(Affine):
    ...     def forward(self, x, context=None):
    ...         z, log_det = super().forward(x)
    ...         return z, 2 * log_det
    >>> try:
    ...     check_transform(Doubled(shift=0.3, scale=2.0), torch.randn(4, 3))
    ... except CheckError as error:
    ...     error.faults[0].check, error.faults[0].message.partition(":")[0]
    ('log_det', "log_det of forward is 2.0 times the Jacobian's")
    """

    check: str
    message: str


class Found(Exception):  # noqa: N818 - ends a check
    """Raised within a check to report what it found, as a :class:`Fault`."""


class CheckError(AssertionError):
    """Faults of a transform or flow; the message has a line for each, and ``faults`` lists them.

    >>> print(CheckError("Scale", [Fault("log_det", "log_det has the wrong sign: -1.5 instead of 1.5")]))
    Scale failed 1 check:
      log_det: log_det has the wrong sign: -1.5 instead of 1.5
    """

    def __init__(self, subject: str, faults: Sequence[Fault]) -> None:
        self.subject, self.faults = subject, list(faults)
        count = f"{len(faults)} check{'' if len(faults) == 1 else 's'}"
        lines = [f"  {fault.check}: {fault.message}" for fault in faults]
        super().__init__("\n".join([f"{subject} failed {count}:", *lines]))

    def __reduce__(self) -> tuple[type["CheckError"], tuple[str, list[Fault]]]:
        return CheckError, (self.subject, self.faults)


def run_checks(subject: str, checks: Mapping[str, Callable[[], None]], skip: Collection[str]) -> list[str]:
    """Run the checks that are not skipped, and return their names.

    Raises: CheckError with the faults of all of them; UsageError if ``skip`` names an unknown check.
    """
    if unknown := set(skip) - set(checks):
        raise UsageError(f"skip names unknown checks {sorted(unknown)}: choose from {', '.join(checks)}")
    selected = {name: check for name, check in checks.items() if name not in skip}
    faults = [fault for name, check in selected.items() if (fault := _fault(name, check))]
    if faults:
        raise CheckError(subject, faults)
    return list(selected)


def _fault(name: str, check: Callable[[], None]) -> Fault | None:
    try:
        with restored():  # what a check changes must not hide a fault from the next one
            check()
    except Found as found:
        return Fault(name, str(found))
    except UsageError:
        raise  # a mistake in the call of the check
    except Exception as error:
        return Fault(name, raised(error))
    return None


@contextmanager
def only(subject: str, check: str, *, passing: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Raise CheckError with a single fault if the block fails, unless by an error that passes as it is."""
    try:
        with restored():
            yield
    except passing:
        raise
    except Found as found:
        raise CheckError(subject, [Fault(check, str(found))]) from None
    except Exception as error:
        raise CheckError(subject, [Fault(check, raised(error))]) from error


def raised(error: BaseException) -> str:
    """An error in a line: its class and the first line of its message."""
    text = str(error).strip().partition("\n")[0]
    return f"raises {type(error).__name__}: {text[:200]}" if text else f"raises {type(error).__name__}"
