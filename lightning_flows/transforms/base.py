"""The contract of every bijection: data to latent, with the log-determinant of its Jacobian."""

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lightning_flows.errors import InputTypeError, ShapeError
from lightning_flows.functional.shapes import check_shape
from lightning_flows.functional.solver import Solver

Shape = tuple[int | None, ...]
"""Shape of an event; None stands for an axis of any length."""
Result = tuple[Tensor, Tensor | float]
"""A value ``(B, *event)`` and its log-determinant: ``(B,)``, ``()`` or a float."""
Reported = tuple[Tensor, Tensor | float, list[NamedTuple]]
"""A result and its reports."""


class Transform(nn.Module, ABC):
    r"""An invertible map :math:`z = f(x)` with its log-determinant.

    A subclass implements ``forward(x) -> (z, log_det)`` with
    :math:`\text{log\_det} = \log|\det \partial z/\partial x|`, and ``inverse(z) -> (x, log_det)`` with the
    log-determinant of the inverse map, which is minus the forward one at the same point. Implementations may return a
    log_det of shape ``(B,)``, a scalar tensor or a float; callers always get ``(B,)``. In eval mode all methods are
    pure; in train mode an inverse does not change state either, except that of an :class:`Invert`.

    Shapes: x, z ``(B, *event)``, floating; log_det ``(B,)`` in nats and x's dtype, with its own storage.
    Args: ``event_shape`` is the shape of x without its batch, with None for an axis of any length; None for any shape.
    Raises: ShapeError for a different shape, also of an implementation's log_det; InputTypeError if dtype or device
        differ from those of the parameters.

    >>> from math import log
    >>> class Double(Transform):  # z = 2 x
    ...     def forward(self, x, context=None):
    ...         return 2 * x, 2 * log(2)  # for events of two values
    ...     def inverse(self, z, context=None):
    ...         return z / 2, -2 * log(2)
    >>> Double((2,))(torch.ones(3, 2))
    (tensor([[2., 2.],
            [2., 2.],
            [2., 2.]]), tensor([1.3863, 1.3863, 1.3863]))
    """

    volume_preserving = False
    """Whether the log-determinant is always zero."""
    num_parameters = 0
    """Length n of the context ``(B, n)`` that it takes, such as parameters per sample; 0 if it does not."""

    def __init__(self, event_shape: Sequence[int | None] | None = None) -> None:
        super().__init__()
        if event_shape is not None:
            check_shape(event_shape)
        self.event_shape: Shape | None = None if event_shape is None else tuple(event_shape)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in ("forward", "forward_reported", "inverse", "inverse_reported", "decode"):
            if name in cls.__dict__:
                setattr(cls, name, _checked(cls.__dict__[name], inverse=not name.startswith("forward")))

    @abstractmethod
    def forward(self, x: Tensor, context: Any = None) -> Result:
        """Map data to latent."""

    @abstractmethod
    def inverse(self, z: Tensor, context: Any = None) -> Result:
        """Map latent to data."""

    def decode(self, z: Tensor, context: Any = None, solver: Solver | None = None) -> Tensor:
        """Map latent to data, without the log-determinant; iterative inverses use ``solver``, or are exact."""
        return self.inverse(z, context)[0]

    def forward_reported(self, x: Tensor, context: Any = None) -> Reported:
        """Return ``(z, log_det, reports)``, with layers' reports, such as a LogDetReport, in order of execution."""
        return *self(x, context), []

    def inverse_reported(self, z: Tensor, context: Any = None) -> Reported:
        """Return ``(x, log_det, reports)``, with layers' reports, such as an InverseReport, in order of execution."""
        return *self.inverse(z, context), []

    @property
    def latent_shape(self) -> Shape | None:
        """Shape of z without its batch, as ``event_shape`` is that of x."""
        return self.event_shape

    def output_shape(self, event_shape: Sequence[int]) -> tuple[int, ...]:
        """Shape of an event of z, given that of x."""
        return tuple(event_shape)

    def check(self, x: Tensor, context: Any, shape: Shape | None) -> None:
        """Raise an error unless x has ``shape``, and the dtype and device of the parameters."""
        check_matches(x, self)
        if shape is not None and (
            x.ndim != 1 + len(shape) or any(n not in (None, m) for n, m in zip(shape, x.shape[1:], strict=True))
        ):
            raise ShapeError(f"{type(self).__name__}: expected shape {_named(shape)}; got {tuple(x.shape)}")
        if self.num_parameters:
            check_context(x, context, self.num_parameters)

    def extra_repr(self) -> str:
        return "" if self.event_shape is None else _named(self.event_shape)


def _checked(method: Callable[..., Any], *, inverse: bool) -> Callable[..., Any]:
    """Wrap a method to check its input first, and then expand its log-determinant to ``(B,)``."""

    @functools.wraps(method)
    def call(self: Transform, x: Tensor, context: Any = None, *args: Any, **kwargs: Any) -> Any:
        self.check(x, context, self.latent_shape if inverse else self.event_shape)
        result = method(self, x, context, *args, **kwargs)
        if isinstance(result, Tensor):
            return result
        value, log_det, *reports = result
        if not isinstance(log_det, Tensor):
            log_det = x.new_full((x.shape[0],), log_det)
        elif log_det.ndim == 0:
            log_det = log_det.repeat(x.shape[0])
        elif log_det.shape != x.shape[:1]:  # it would broadcast
            raise ShapeError(
                f"expected a log-determinant of shape {tuple(x.shape[:1])} from {type(self).__name__}; got "
                f"{tuple(log_det.shape)}: sum it over the event"
            )
        return value, log_det, *reports

    return call


def _named(shape: Shape) -> str:
    """A shape with letters for its batch and for axes of any length.

    >>> _named((3, None, None)), _named((None, 2))
    ('(B, 3, H, W)', '(B, N, 2)')
    """
    letters = {1: "D", 2: "NF", 3: "CHW"}.get(len(shape), "?" * len(shape))
    return f"({', '.join(['B', *(a if n is None else str(n) for n, a in zip(shape, letters, strict=True))])})"


def check_floating(x: Tensor) -> None:
    """Raise InputTypeError unless x is a floating tensor."""
    if not isinstance(x, Tensor) or not x.is_floating_point():
        got = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise InputTypeError(f"expected a floating tensor; got {got}: convert or dequantize it first")


def check_dtype(x: Tensor, parameter: Tensor) -> None:
    """Raise InputTypeError unless x has a parameter's dtype and device, and that dtype is precise enough to invert."""
    check_floating(x)
    if parameter.dtype not in (torch.float32, torch.float64):
        raise InputTypeError(
            f"expected a flow in float32 or float64; got {parameter.dtype}, which has no inverse: use autocast for "
            "lower precision, such as --trainer.precision=bf16-mixed"
        )
    if x.dtype != parameter.dtype:
        raise InputTypeError(
            f"expected {parameter.dtype}, the dtype of the flow; got {x.dtype}: convert one to the other"
        )
    if x.device != parameter.device:
        raise InputTypeError(f"expected a tensor on {parameter.device}, the device of the flow; got one on {x.device}")


def check_matches(x: Tensor, module: nn.Module) -> None:
    """Raise InputTypeError unless x has the dtype and device of a module's parameters, or is floating without any."""
    for parameter in module.parameters():  # torch.compile of torch 2.6 cannot trace next() with a default
        check_dtype(x, parameter)
        return
    check_floating(x)


def check_context(x: Tensor, context: Any, num_parameters: int) -> None:
    """Raise an error unless the context is a tensor ``(B, num_parameters)`` of x's dtype and device."""
    if not isinstance(context, Tensor) or context.shape != (x.shape[0], num_parameters):
        got = f"shape {tuple(context.shape)}" if isinstance(context, Tensor) else type(context).__name__
        raise ShapeError(f"expected a context of shape {(x.shape[0], num_parameters)}; got {got}")
    if context.dtype != x.dtype or context.device != x.device:
        raise InputTypeError(
            f"expected a context of {x.dtype} on {x.device}; got {context.dtype} on {context.device}: convert it"
        )


def sum_event(x: Tensor) -> Tensor:
    """Sum over all dimensions but the batch: ``(B, *event) -> (B,)``."""
    if x.ndim == 1:
        return x.clone()  # no dimensions would stand for all of them
    return x.sum(tuple(range(1, x.ndim)))  # without the copy that flattening images in channels_last takes
