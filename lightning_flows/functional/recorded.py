"""Objects that remember the arguments they were constructed with."""

import inspect
from typing import Any, ClassVar, Self


class Recorded:
    """Mixin that stores the arguments of the constructor, defaults included, in ``init_args``.

    ``init_args`` maps each name to its value, with ``**kwargs`` merged, so that ``type(x)(**x.init_args)`` builds an
    equal object. The arguments are stored, not copied.

    >>> class Point(Recorded):
    ...     def __init__(self, x: int, *, y: int = 2, **kwargs: int) -> None: ...
    >>> Point(1, z=3).init_args
    {'x': 1, 'y': 2, 'z': 3}
    """

    init_args: dict[str, Any]
    set_by_owner: ClassVar[tuple[str, ...]] = ("event_shape",)
    """Arguments that the owner of the object, such as a module, passes; a checkpoint records them only once."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        self = super().__new__(cls)
        object.__setattr__(self, "init_args", _bind(cls, args, kwargs))  # nn.Module has no attributes yet
        return self


def _bind(cls: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    signature = inspect.signature(cls.__init__)  # type: ignore[misc]
    try:
        bound = signature.bind(None, *args, **kwargs)
    except TypeError:
        return {}  # copy and pickle pass no arguments; otherwise __init__ raises the error
    bound.apply_defaults()
    _, *names = signature.parameters
    arguments: dict[str, Any] = {}
    for name in names:
        merged = signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD
        arguments |= bound.arguments[name] if merged else {name: bound.arguments[name]}
    return arguments
