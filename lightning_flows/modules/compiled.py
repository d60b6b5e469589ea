"""Training with torch.compile, and state dicts whose names do not depend on it."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from random import SystemRandom
from typing import Any

import torch
from packaging.version import Version
from torch import Tensor, nn

from lightning_flows.checkpoints.training import without_compiled
from lightning_flows.errors import UsageError
from lightning_flows.functional.precision import full_float32, is_reduced
from lightning_flows.transforms.actnorm import DataInitialized

COMPILER = ("torch._dynamo", "torch._inductor", "torch._functorch", "torch.fx")
OLDEST = "2.11"
"""The oldest torch with which compiled gradients have been compared with eager ones."""


class CompiledTerms:
    """The ``training_terms`` of a module, compiled with their backward as one graph.

    Batches run eagerly until every ActNorm is initialized, and so do batches that are smaller than earlier ones, such
    as the last of an epoch: each shape would be compiled separately. The graph draws the same random numbers from
    torch's generators as eager code, so that a step is the same up to round-off; torch 2.11 may draw them in another
    order. TF32 cannot be switched off for part of a graph: the forward runs without it, nets included, and the backward
    in the mode that is set.

    Args:
        backend: backend of torch.compile; ``cudagraphs`` generates no code, and replays the kernels of a step.

    Raises: UsageError for an unknown backend, before torch 2.11 and, in the first compiled step, if a layer cannot be
        traced.
    """

    def __init__(self, backend: str = "inductor") -> None:
        if backend not in torch.compiler.list_backends(exclude_tags=()):
            names = ", ".join(torch.compiler.list_backends())
            raise UsageError(f"{backend} is not a backend of torch.compile: use --compile=true, or one of {names}")
        if Version(torch.__version__) < Version(OLDEST):  # which may compile wrong gradients without an error
            raise UsageError(
                f"--compile needs torch {OLDEST} or newer, and this is {torch.__version__}: upgrade it, or omit it"
            )
        self.backend = backend
        self._function: Callable[..., Any] | None = None  # of the class, so that a copy of a module may share it
        self._shapes: list[torch.Size] = []
        self._is_ready = False

    def __call__(self, module: Any, inputs: Sequence[Any]) -> dict[str, Tensor]:
        shapes = [value.shape for value in inputs if isinstance(value, Tensor)]
        if not self._shapes or shapes[0].numel() > self._shapes[0].numel():
            self._shapes = shapes
        if not self._is_ready or shapes != self._shapes:
            terms = module.training_terms(*inputs)
            self._is_ready = self._is_ready or all(bool(layer.initialized) for layer in _initialized_by_data(module))
            return terms
        if self._function is None:
            self._function = _compile(type(module).training_terms, self.backend)
        kind = inputs[0].device.type
        try:
            with full_float32(kind) if is_reduced(kind) else nullcontext(), self._kept_buffers(module):
                return self._function(module, *inputs)
        except Exception as error:
            if not type(error).__module__.startswith(COMPILER):
                raise
            raise UsageError(
                f"torch.compile cannot trace the training step ({_reason(error)}): omit --compile"
            ) from error

    @contextmanager
    def _kept_buffers(self, module: nn.Module) -> Iterator[None]:
        """Write new buffers to the memory of those that they replace: the next CUDA graph overwrites its own."""
        before = dict(module.named_buffers()) if self.backend == "cudagraphs" else {}
        yield
        for path, old in before.items():
            if (new := module.get_buffer(path)) is not old:
                layer, _, name = path.rpartition(".")
                setattr(module.get_submodule(layer), name, old.copy_(new))

    def check(self, device: torch.device) -> None:
        """Raise UsageError if a tiny function does not compile, for example because there is no compiler."""
        scale = SystemRandom().random()  # so that the function is in no cache
        try:
            _compile(lambda x: x.sin() * scale, self.backend)(torch.ones(8, device=device))
        except Exception as error:
            needed = "a C++ compiler, such as g++," if device.type == "cpu" else "Triton and a C compiler, such as gcc,"
            raise UsageError(
                f"torch.compile does not work here ({_reason(error)}): install {needed} or omit --compile"
            ) from error


def _compile(function: Callable[..., Any], backend: str) -> Callable[..., Any]:
    options: dict[str, Any] = {"fullgraph": True, "dynamic": False}
    if "isolate_recompiles" in inspect.signature(torch.compile).parameters:  # not in torch 2.6
        options["isolate_recompiles"] = True
    if backend == "inductor":
        options["options"] = {"fallback_random": True}  # the numbers of eager code
    return torch.compile(function, backend=backend, **options)


def _initialized_by_data(module: nn.Module) -> list[DataInitialized]:
    return [layer for layer in module.modules() if isinstance(layer, DataInitialized)]


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".:") if lines else type(error).__name__


def keep_names_of_compiled(module: nn.Module) -> None:
    """Make a module save and load its state under uncompiled names, even after a submodule is replaced."""
    module.register_state_dict_post_hook(_written)
    module.register_load_state_dict_pre_hook(_read)


def _written(module: nn.Module, state: dict[str, Any], prefix: str, metadata: Any) -> None:
    for key in [key for key in state if key.startswith(prefix)]:
        (name,) = without_compiled({key.removeprefix(prefix): None})
        if prefix + name != key:
            state[prefix + name] = state.pop(key)


def _read(module: nn.Module, state: dict[str, Any], prefix: str, *args: Any) -> None:
    named = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
    names = {name: own for own, _ in named for name in without_compiled({own: None})}
    for key in [key for key in state if key.startswith(prefix)]:
        (plain,) = without_compiled({key.removeprefix(prefix): None})
        name = prefix + names.get(plain, plain)
        if name != key:
            state[name] = state.pop(key)
