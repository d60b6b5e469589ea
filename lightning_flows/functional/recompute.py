"""Recomputation: keep only the input of a step, and compute its activations again in the backward pass."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint

from lightning_flows.errors import UsageError
from lightning_flows.functional.advanced import advanced, is_advanced
from lightning_flows.functional.precision import is_autocast


class Recomputation:
    """Evaluates modules without a graph, and again with one in the backward pass: only their inputs are kept.

    The second evaluation uses the parameters, the buffers, the states of torch's global generators and the autocast
    mode of the first, even if other forwards ran in between, provided that buffers are replaced instead of changed in
    place. No other state is restored. The first recomputation of each module compares outputs and buffers to check
    this.

    Unlike in ``torch.utils.checkpoint``, the first evaluation has no graph, so that modules may differentiate, as
    residual blocks do; parameters are inputs of the operation. Under torch.compile, ``torch.utils.checkpoint`` is used,
    without this check, and modules whose attribute ``differentiates`` is true keep their activations.

    Raises, in the backward pass: UsageError if the second evaluation differs from the first.

    >>> from lightning_flows.transforms import Compose, MaskedAutoregressive
    >>> layers, x = Compose([MaskedAutoregressive(3, 16)]), torch.randn(5, 3, requires_grad=True)
    >>> kept = torch.autograd.grad(layers(x)[1].sum(), x)
    >>> layers.recompute = Recomputation()
    >>> torch.allclose(torch.autograd.grad(layers(x)[1].sum(), x)[0], kept[0])
    True
    """

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix  # of names in messages
        self.verified: set[str] = set()

    def __call__(self, name: str, module: nn.Module, method: str, *args: Any) -> Any:
        """Return ``module.method(*args)``: tensors, or tuples and lists of them. ``name`` is the module's own."""
        if torch.compiler.is_compiling():
            if any(getattr(each, "differentiates", False) for each in module.modules()):
                return getattr(module, method)(*args)
            return checkpoint(getattr(module, method), *args, use_reentrant=False)
        unit = _Unit(module, method)
        state = unit.state()
        unverified = self.prefix + name not in self.verified and not args[0].is_meta
        run = _Run(unit, list(state), args, self.prefix + name, self if unverified else None)
        outputs = iter(_Recomputed.apply(run, args, *_tensors(args), *state.values()))
        return _mapped(run.result, _Slot, lambda _: next(outputs))


class _Recomputed(torch.autograd.Function):
    """The output tensors of a run as a function of its arguments, parameters and buffers."""

    @staticmethod
    def forward(ctx: Any, run: "_Run", args: tuple[Any, ...], *tensors: Tensor) -> tuple[Tensor, ...]:
        outputs = run.first(args)
        ctx.run = run
        ctx.save_for_backward(*tensors)
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        twice = torch.is_grad_enabled()  # the gradient is to be differentiated
        tensors = [_alias(tensor, twice) for tensor in ctx.saved_tensors]
        outputs = ctx.run.again(tensors)
        pairs = [(output, grad) for output, grad in zip(outputs, grads, strict=True) if output.requires_grad]
        wanted = [tensor for tensor in tensors if tensor.requires_grad]
        found: Any = [None] * len(wanted)
        if pairs:
            values, weights = zip(*pairs, strict=True)
            found = torch.autograd.grad(values, wanted, weights, create_graph=twice, allow_unused=True)
        remaining = iter(found)
        return None, None, *(next(remaining) if tensor.requires_grad else None for tensor in tensors)


class _Unit(nn.Module):
    """A method of a module as a module, whose parameters and buffers ``functional_call`` can replace."""

    def __init__(self, module: nn.Module, method: str) -> None:
        super().__init__()
        self.module, self.method = module, method

    def forward(self, *args: Any) -> Any:
        return getattr(self.module, self.method)(*args)

    def state(self) -> dict[str, Tensor]:
        """All parameters and buffers."""
        parameters = dict(self.named_parameters(remove_duplicate=False))
        return parameters | dict(self.named_buffers(remove_duplicate=False))


class _Run:
    """One evaluation of a unit, and what is needed to repeat it besides tensors; ``owner`` if it is not verified."""

    def __init__(
        self, unit: _Unit, names: list[str], args: tuple[Any, ...], name: str, owner: Recomputation | None
    ) -> None:
        self.unit, self.names, self.name, self.owner = unit, names, name, owner
        self.device = _tensors(args)[0].device
        self.args = _mapped(args, Tensor, lambda _: _Slot())
        kind = self.device.type
        self.reduced = torch.get_autocast_dtype(kind) if is_autocast(kind) else None
        self.advanced = is_advanced()

    def first(self, args: tuple[Any, ...]) -> list[Tensor]:
        """Evaluate the unit, and remember the random state if it was used."""
        states = _random_states(self.device)
        with self._autocast():
            result = self.unit(*args)
        after = _random_states(self.device)
        self.states = [] if [s.numpy().tobytes() for s in states] == [s.numpy().tobytes() for s in after] else states
        self.result = _mapped(result, Tensor, lambda _: _Slot())
        self.expected = [output.detach() for output in _tensors(result)] if self.owner else []
        return _tensors(result)

    def again(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Evaluate with a graph, given arguments, parameters and buffers; compare the outputs the first time."""
        if self.owner is None:
            return self._repeat(tensors)
        constants = [tensor for tensor in tensors if not tensor.requires_grad]
        before = [tensor.clone() for tensor in constants]
        outputs = self._repeat(tensors)
        if not _alike(outputs, self.expected, self.reduced) or not all(map(torch.equal, constants, before)):
            raise UsageError(
                f"{self._culprit(tensors)} returns a different result when it is recomputed: draw random numbers from "
                "torch's global generator and replace buffers instead of changing them in place, or use recompute=False"
            )
        self.owner.verified.add(self.name)
        self.owner, self.expected = None, []
        return outputs

    def _autocast(self) -> AbstractContextManager:
        """The autocast mode of the first evaluation, without its cache: cached weights would have no gradient."""
        kind = self.device.type
        if self.reduced is None and not is_autocast(kind):
            return nullcontext()
        return torch.autocast(kind, self.reduced, enabled=self.reduced is not None, cache_enabled=False)

    def _repeat(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        values = iter(tensors)
        args = _mapped(self.args, _Slot, lambda _: next(values))
        state = dict(zip(self.names, values, strict=True))
        context = advanced() if self.advanced else nullcontext()
        with torch.enable_grad(), context, _replayed(self.states, self.device), self._autocast():
            return _tensors(functional_call(self.unit, state, args))

    def _culprit(self, tensors: Sequence[Tensor]) -> str:
        """Name and class of the first, innermost module whose outputs differ between two more evaluations."""
        first, second = self._trace(tensors), self._trace(tensors)
        pairs = zip(first, second, strict=False)
        return next(
            (name for (name, one), (_, other) in pairs if not _alike(one, other, self.reduced)),
            f"{self.name} ({type(self.unit.module).__name__})",
        )

    def _trace(self, tensors: Sequence[Tensor]) -> list[tuple[str, list[Tensor]]]:
        """Evaluate again, and return the name and outputs of each module that was called."""
        found: list[tuple[str, list[Tensor]]] = []

        def watch(name: str, module: nn.Module) -> torch.utils.hooks.RemovableHandle:
            name = f"{self.name}{name.removeprefix('module')} ({type(module).__name__})"
            return module.register_forward_hook(lambda module, args, out: found.append((name, _tensors(out))))

        handles = [watch(name, module) for name, module in self.unit.named_modules() if name]
        self._repeat(tensors)
        for handle in handles:
            handle.remove()
        return found


class _Slot:
    """The place of a tensor among arguments or results."""


def _mapped(value: Any, kind: type, function: Callable[[Any], Any]) -> Any:
    """Replace the values of a kind in nested tuples and lists."""
    if isinstance(value, kind):
        return function(value)
    if isinstance(value, tuple | list):
        items = [_mapped(item, kind, function) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return value


def _tensors(value: Any) -> list[Tensor]:
    """The tensors in nested tuples and lists."""
    found: list[Tensor] = []
    _mapped(value, Tensor, found.append)
    return found


def _alias(tensor: Tensor, differentiable: bool) -> Tensor:
    """The same values without the hooks of a tensor; buffers, which have no gradient, are returned unchanged."""
    if not tensor.requires_grad:
        return tensor
    return tensor.view_as(tensor) if differentiable else tensor.detach().requires_grad_()


def _alike(one: Sequence[Tensor], other: Sequence[Tensor], dtype: torch.dtype | None = None) -> bool:
    """Whether tensors are equal, up to the square root of the round-off of a dtype (default: their own)."""
    return all(map(lambda a, b: _close(a, b, dtype or a.dtype), one, other))


def _close(one: Tensor, other: Tensor, dtype: torch.dtype) -> bool:
    if not one.numel() or not one.is_floating_point():
        return one.equal(other)
    bound = torch.finfo(dtype).eps ** 0.5 * other.abs().max().item()
    return torch.allclose(one, other, rtol=0, atol=bound, equal_nan=True)


def _random_states(device: torch.device) -> list[Tensor]:
    """States of torch's global generators of the CPU and a device."""
    on_host = device.type in ("cpu", "meta")
    return [torch.get_rng_state(), *([] if on_host else [torch.get_device_module(device).get_rng_state(device)])]


@contextmanager
def _replayed(states: Sequence[Tensor], device: torch.device) -> Iterator[None]:
    """Set the states of the global generators, if any, and restore them on exit."""
    devices = [device] if len(states) > 1 else []
    with torch.random.fork_rng(devices, bool(states), device_type=device.type if devices else "cuda"):
        for each, state in zip(devices, states[1:], strict=True):
            torch.get_device_module(each).set_rng_state(state, each)
        if states:
            torch.set_rng_state(states[0])
        yield
