"""Differences between versions of other packages."""

import inspect
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from lightning_flows.errors import FlowsError, UsageError

WRAPPED = "Does not validate against any of the Union subtypes"
REASON = re.compile(r"^ +- (?:Problem with .*:\n +(?:- )?)?(?!Expected an? <)(.+)$", re.M)


def accepted(function: Callable[..., Any], **arguments: Any) -> dict[str, Any]:
    """Return the arguments that the installed version of a function accepts.

    >>> accepted(lambda width: None, width=3, depth=4)
    {'width': 3}
    """
    parameters = inspect.signature(function).parameters
    return {name: value for name, value in arguments.items() if name in parameters}


@contextmanager
def unwrapped_errors() -> Iterator[None]:
    """Raise only the reason why a class could not be built, which jsonargparse before 4.47 lists among others.

    Raises: UsageError.

    >>> with unwrapped_errors():
    ...     raise ValueError(f"{WRAPPED}\\nErrors:\\n  - Expected a <class 'bool'>\\n  - num is 0: use at least 1")
    Traceback (most recent call last):
    lightning_flows.errors.UsageError: num is 0: use at least 1
    """
    try:
        yield
    except ValueError as error:
        reasons = REASON.findall(str(error)) if str(error).startswith(WRAPPED) else []
        if isinstance(error, FlowsError) or not reasons:
            raise
        ours = [reason for reason in reasons if re.search(r"; got |: (use|pass|choose|set|omit) ", reason)]
        raise UsageError((ours or reasons)[-1]) from error
