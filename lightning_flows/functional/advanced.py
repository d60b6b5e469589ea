"""Whether power iterations have been advanced for the evaluation in progress, so that layers do not step them again."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_ADVANCED: ContextVar[bool] = ContextVar("_ADVANCED", default=False)


@contextmanager
def advanced() -> Iterator[None]:
    """Within this context, layers of a composition do not step their power iterations.

    >>> is_advanced()
    False
    >>> with advanced():
    ...     is_advanced()
    True
    """
    token = _ADVANCED.set(True)
    try:
        yield
    finally:
        _ADVANCED.reset(token)


def is_advanced() -> bool:
    """Whether this is called within :func:`advanced`.

    >>> is_advanced()
    False
    """
    return _ADVANCED.get()
