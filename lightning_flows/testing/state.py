"""What a module's results may depend on: its attributes, and what they, its classes and functions refer to."""

import functools
import sys
import types
import weakref
from collections import deque
from collections.abc import Iterator, Mapping, Set
from typing import Any

import torch
from torch import Tensor, nn

from lightning_flows.testing.compare import number

OPAQUE = frozenset(sys.stdlib_module_names) | {"torch", "numpy", "builtins"}
"""Packages whose objects are not searched: their caches are their own affair."""
SEARCHED = (types.SimpleNamespace, weakref.WeakKeyDictionary, weakref.WeakValueDictionary)
"""Exceptions: holders of values of others."""
PLAIN = (bool, int, float, complex, str, bytes, bytearray, torch.dtype, torch.device, torch.Size, type(None))
DEPTH = 40

OUTSIDE = "the "
"""Names of values outside of the module begin with it: globals, attributes of classes, variables of closures."""


class Reach:
    """Copies of all values that can be reached from a module, by name; and its tensors themselves.

    Args:
        root: module, or any other value.
        functions: also search what functions and classes refer to: class attributes, closures, defaults, globals.
    """

    def __init__(self, root: Any, name: str = "", *, functions: bool = True) -> None:
        self.values: dict[str, Any] = {}
        self.tensors: dict[str, Tensor] = {}
        self._functions, self._seen = functions, {}  # type: tuple[bool, dict[int, Any]]
        parts = root.modules() if isinstance(root, nn.Module) else ()
        self._packages = {_package(kind) for part in parts for kind in type(part).__mro__} - OPAQUE
        self._add(name, root, 0)

    def _add(self, name: str, value: Any, depth: int) -> None:
        if isinstance(value, PLAIN):
            self.values[name] = bytes(value) if isinstance(value, bytearray) else value
        elif id(value) in self._seen:
            self.values.setdefault(name, "a value that another name has, too")
        elif depth < DEPTH:
            self._seen[id(value)] = value  # keeps it alive, so that no other value gets its id
            for other, each in self._parts(name, value):
                self._add(other, each, depth + 1)

    def _parts(self, name: str, value: Any) -> Iterator[tuple[str, Any]]:
        """Values within a value, by name; those that have none are recorded."""
        if isinstance(value, Tensor):
            yield from self._tensor(name, value)
        elif isinstance(value, nn.Module):
            yield from self._module(name, value)
        elif isinstance(value, torch.Generator):
            self.values[name] = value.get_state().clone()
        elif isinstance(value, Mapping | weakref.WeakKeyDictionary | weakref.WeakValueDictionary):
            self.values[name] = Length(len(value))
            yield from ((f"{name}[{_key(key)}]", each) for key, each in list(value.items()))
        elif isinstance(value, list | tuple | deque):
            self.values[name] = Length(len(value))
            yield from ((f"{name}[{i}]", each) for i, each in enumerate(value))
        elif isinstance(value, Set):
            self.values[name] = Length(len(value))
            yield from ((f"{name} {{{_key(each)}}}", True) for each in value if isinstance(each, PLAIN))
        elif isinstance(value, functools.partial):
            yield from ((f"{name}.{part}", getattr(value, part)) for part in ("func", "args", "keywords"))
        elif isinstance(value, types.MethodType):
            yield from ((name, each) for each in (value.__self__, value.__func__))
        elif isinstance(value, types.FunctionType):
            yield from self._function(value)
        elif isinstance(value, type):
            yield from self._class(value)
        elif type(value).__module__ == "numpy" and hasattr(value, "tobytes"):
            self.values[name] = (str(value.dtype), value.shape, value.tobytes())
        elif type(value).__module__ in ("random", "itertools", "array", "numpy.random._generator"):
            self.values[name] = _described(value)
        elif _package(type(value)) not in OPAQUE or isinstance(value, SEARCHED) or type(value).__name__ == "_local":
            yield from self._object(name, value)

    def _tensor(self, name: str, value: Tensor) -> Iterator[tuple[str, Any]]:
        self.tensors[name] = value
        self.values[name] = (value if value.layout == torch.strided else value.to_dense()).detach().clone()
        if isinstance(value, nn.Parameter):
            self.values[f"{name}.requires_grad"] = value.requires_grad
        if value.is_leaf:
            yield from [(f"{name}.grad", value.grad)] if value.grad is not None else []

    def _module(self, prefix: str, module: nn.Module) -> Iterator[tuple[str, Any]]:
        for path, part in module.named_modules():
            self._seen[id(part)] = part
            start = ".".join(filter(None, (prefix, path)))
            start = f"{start}." if start else ""
            for name, value in [*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)]:
                yield start + name, value
            if not isinstance(part, torch.jit.ScriptModule):
                for name, value in vars(part).items():
                    if name not in ("_parameters", "_buffers", "_modules"):
                        yield start + name, value
            yield from ((start, each) for each in type(part).__mro__)

    def _object(self, name: str, value: Any) -> Iterator[tuple[str, Any]]:
        kinds = type(value).__mro__
        memos = {k for kind in kinds for k, v in vars(kind).items() if isinstance(v, functools.cached_property)}
        names = [*getattr(value, "__dict__", ()), *(s for kind in kinds for s in _slots(kind) if hasattr(value, s))]
        yield from ((f"{name}.{each}", getattr(value, each, None)) for each in names if each not in memos)
        yield from ((name, kind) for kind in kinds)

    def _class(self, kind: type) -> Iterator[tuple[str, Any]]:
        if not self._functions or _package(kind) not in self._packages:
            return
        for name, value in list(vars(kind).items()):
            if isinstance(value, staticmethod | classmethod):
                yield name, value.__func__
            elif isinstance(value, property):
                yield from ((name, each) for each in (value.fget, value.fset) if each is not None)
            elif not name.startswith("__") or isinstance(value, types.FunctionType):
                yield f"{OUTSIDE}class attribute {kind.__name__}.{name}", value

    def _function(self, function: types.FunctionType) -> Iterator[tuple[str, Any]]:
        """Variables of the closure, defaults, attributes, and globals that the code names."""
        own = _package(function) in self._packages
        if not self._functions or not own:
            return
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            if name != "__class__" and cell != types.CellType():
                yield f"{OUTSIDE}variable {name} in the closure of {function.__name__}", cell.cell_contents
        defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
        yield from ((f"{OUTSIDE}default {i} of {function.__name__}", each) for i, each in enumerate(defaults))
        yield from ((f"{OUTSIDE}attribute {k} of {function.__name__}", v) for k, v in vars(function).items())
        space = function.__globals__
        home = str(space.get("__name__"))
        if home.partition(".")[0] not in self._packages:
            return
        names = set(_names(function.__code__))
        for name in sorted(names & space.keys()):
            value = space[name]
            if not isinstance(value, types.ModuleType):
                yield f"{OUTSIDE}global {name} of {home}", value
            elif value.__name__.partition(".")[0] in self._packages:
                inner = sorted(names & vars(value).keys())
                yield from ((f"{OUTSIDE}global {each} of {value.__name__}", vars(value)[each]) for each in inner)


class Length(int):
    """Number of values in a container."""

    def __str__(self) -> str:
        return f"length {int(self)}"


def state(module: nn.Module) -> dict[str, Any]:
    """Copies of all values that a module's results may depend on, by name, but for weights that are recomputed."""
    skipped = recomputed(module)
    return {name: value for name, value in Reach(module).values.items() if name not in skipped}


def recomputed(module: nn.Module) -> set[str]:
    """Names of the weights that hooks of torch.nn.utils compute from parameters in each call.

    The old spectral_norm and pruning store ``weight_orig``, the old weight_norm ``weight_g`` and ``weight_v``.
    """
    found = set()
    for prefix, part in module.named_modules():
        own = {name for name, _ in part.named_parameters(recurse=False)}
        plain = {name for name, value in vars(part).items() if isinstance(value, Tensor)}
        found |= {f"{prefix}.{n}" if prefix else n for n in plain if {f"{n}_orig", f"{n}_v"} & own}
    return found


def difference(before: Mapping[Any, Any], after: Mapping[Any, Any]) -> str:
    """How the second state differs from the first: ``changes center by up to 0.1``; empty if it does not."""
    if added := [name for name in after if name not in before]:
        return f"adds {'' if added[0].startswith(OUTSIDE) else 'the attribute '}{added[0]}"
    for name, value in before.items():
        if name not in after:
            return f"removes {name}"
        if change := _change(value, after[name]):
            return f"changes {name}{change}"
    return ""


def _change(before: Any, after: Any) -> str:
    if isinstance(before, Tensor) and isinstance(after, Tensor) and before.shape == after.shape:
        if before.dtype != after.dtype:
            return f" from {before.dtype} to {after.dtype}"
        if before.is_meta or torch.equal(before, after):
            return ""
        wide = torch.complex128 if before.is_complex() else torch.float64
        before, after = before.to(wide), after.to(wide)
        different = ~((before == after) | ((before != before) & (after != after)))  # NaN differs from itself
        return f" by up to {number((after - before)[different].abs().max())}" if different.any() else ""
    if isinstance(before, Tensor) or isinstance(after, Tensor):
        return " to a value of another type or shape"
    if type(before) is type(after) and (before == after or before != before):
        return ""
    texts = [text if len(text) <= 30 else f"{text[:29]}…" for text in (str(before), str(after))]
    return " from {} to {}".format(*texts) if texts[0] != texts[1] else ""


def _described(value: Any) -> str:
    if hasattr(value, "getstate"):
        return repr(value.getstate())
    return repr(value.bit_generator.state) if hasattr(value, "bit_generator") else repr(value)


def _package(value: Any) -> str:
    return str(getattr(value, "__module__", None) or "").partition(".")[0]


def _key(key: Any) -> str:
    return repr(key) if isinstance(key, PLAIN) else type(key).__name__


def _slots(kind: type) -> list[str]:
    slots = vars(kind).get("__slots__", ())
    return [name for name in ([slots] if isinstance(slots, str) else slots) if not name.startswith("__")]


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for value in code.co_consts:
        if isinstance(value, types.CodeType):
            yield from _names(value)
