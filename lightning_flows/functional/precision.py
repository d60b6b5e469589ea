"""Full precision despite autocast, TF32 and other reduced modes."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, backends


def _modes(*names: str) -> tuple[Any, ...]:
    """Those of the objects in ``torch.backends`` that have an ``fp32_precision``: none before torch 2.9."""
    paths = (name.split(".") for name in names)
    found = [getattr(getattr(backends, library), name, None) for library, name in paths]
    return tuple(mode for mode in found if hasattr(mode, "fp32_precision"))


MATMULS = _modes("mkldnn.matmul", "cuda.matmul")
MODES = {
    "cpu": _modes("mkldnn.matmul", "mkldnn.conv"),
    "cuda": _modes("cudnn.conv", "cudnn.rnn", "cuda.matmul"),
}
"""Objects whose ``fp32_precision`` sets the precision of float32 convolutions and matrix products on a device type."""
FULL = ("ieee", "none")
HALF = (
    "allow_fp16_accumulation",
    "allow_fp16_reduced_precision_reduction",
    "allow_bf16_reduced_precision_reduction",
)
"""Attributes of ``torch.backends.cuda.matmul``."""


def full_precision(x: Tensor) -> AbstractContextManager[object]:
    """Switch off autocast, TF32 and other reduced modes on x's device, for math that requires full precision.

    Everything that is inverted or enters a log-determinant runs in this scope; conditioner nets do not. On exit, the
    previous modes are restored, even after an error. Autocast belongs to a thread, but the other modes belong to the
    process: they affect other threads that compute at the same time. A graph of torch.compile can only disable
    autocast: call it within :func:`full_float32`. The scope does not include the backward pass.

    >>> x = torch.ones(2, 2)
    >>> with torch.autocast("cpu", dtype=torch.bfloat16):
    ...     reduced = (x @ x).dtype
    ...     with full_precision(x):
    ...         full = (x @ x).dtype
    >>> reduced, full
    (torch.bfloat16, torch.float32)
    """
    kind = x.device.type
    if torch.compiler.is_compiling():  # the gradient is traced without the mode that it will run in
        return torch.autocast(kind, enabled=False) if _has_autocast(kind) else nullcontext()
    reduced = is_reduced(kind)
    if is_autocast(kind):
        return _without_autocast(kind) if reduced else torch.autocast(kind, enabled=False)
    return full_float32(kind) if reduced else nullcontext()


def is_autocast(kind: str) -> bool:
    """Whether autocast is on for a device type.

    >>> with torch.autocast("cpu", dtype=torch.bfloat16):
    ...     inside = is_autocast("cpu")
    >>> inside, is_autocast("cpu")
    (True, False)
    """
    return _has_autocast(kind) and torch.is_autocast_enabled(kind)


def is_reduced(kind: str) -> bool:
    """Whether float32 convolutions or matrix products have reduced precision on a device type.

    >>> with full_float32("cpu"):
    ...     is_reduced("cpu")
    False
    """
    if kind in MODES and not MODES[kind]:
        return torch.get_float32_matmul_precision() != "highest" or (kind == "cuda" and backends.cudnn.allow_tf32)
    return any(mode.fp32_precision not in FULL for mode in MODES.get(kind, ()))


@torch.compiler.assume_constant_result
def _has_autocast(kind: str) -> bool:
    """Whether a device type has autocast; torch.compile cannot trace this question in torch 2.6."""
    return torch.amp.is_autocast_available(kind)


@contextmanager
def full_float32(kind: str) -> Iterator[None]:
    """Switch off TF32 and other reduced modes, but not autocast, on a device type such as ``cuda``.

    Both ``fp32_precision`` in ``torch.backends`` and the older settings are changed, ``allow_tf32`` and
    ``torch.set_float32_matmul_precision``: torch raises an error when it reads settings that contradict each other.

    >>> with full_float32("cpu"):
    ...     is_reduced("cpu")
    False
    """
    with ExitStack() as undo:
        if (matmul := _readable(torch.get_float32_matmul_precision)) not in (None, "highest"):
            for mode in MATMULS:
                undo.callback(_restore, mode, mode.fp32_precision)
            undo.callback(torch.set_float32_matmul_precision, matmul)
            torch.set_float32_matmul_precision("highest")
        if kind == "cuda":
            for name in filter(partial(hasattr, backends.cuda.matmul), HALF):
                _set(undo, backends.cuda.matmul, name, False)
            if _readable(lambda: backends.cudnn.allow_tf32):
                _set(undo, backends.cudnn, "allow_tf32", False)
        for mode in MODES.get(kind, ()):
            if (precision := mode.fp32_precision) not in FULL:
                undo.callback(_restore, mode, precision)
                mode.fp32_precision = "ieee"
        yield


@contextmanager
def _without_autocast(kind: str) -> Iterator[None]:
    with torch.autocast(kind, enabled=False), full_float32(kind):
        yield


def _set(undo: ExitStack, owner: Any, name: str, value: bool) -> None:
    if (before := getattr(owner, name)) != value:
        undo.callback(setattr, owner, name, before)
        setattr(owner, name, value)


def _restore(mode: Any, precision: str) -> None:
    """Restore a precision; one that equals that of its parent is inherited again."""
    mode.fp32_precision = "none"
    if mode.fp32_precision != precision:
        mode.fp32_precision = precision


def _readable(setting: Callable[[], Any]) -> Any:
    """An older setting; None if newer ones contradict it."""
    try:
        return setting()
    except RuntimeError:
        return None
