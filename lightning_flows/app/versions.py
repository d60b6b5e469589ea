"""Differences between versions of other packages."""

import inspect
from collections.abc import Callable
from typing import Any


def accepted(function: Callable[..., Any], **arguments: Any) -> dict[str, Any]:
    """Return those of the arguments that the installed version of a function has.

    >>> accepted(lambda width: None, width=3, depth=4)
    {'width': 3}
    """
    parameters = inspect.signature(function).parameters
    return {name: value for name, value in arguments.items() if name in parameters}
