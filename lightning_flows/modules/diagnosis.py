"""Find the first layer whose output is not finite."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lightning_flows.errors import NonFiniteError


def check_finite(values: Tensor, model: nn.Module, repeat: Callable[[], object], stage: str) -> None:
    """Raise NonFiniteError, naming the first layer that is not finite, unless all values are; ``repeat`` recomputes.

    This is the only host-device synchronization in a module's training step.
    """
    finite = torch.isfinite(values)
    if finite.all():
        return
    raise NonFiniteError(
        f"expected finite log-probabilities in {stage}; got {int((~finite).sum())} of {values.numel()} that are not. "
        f"{_culprit(model, repeat)}. Earlier checkpoints are unchanged: resume from one with a smaller "
        "learning rate, a longer warm-up or a smaller gradient_clip_val"
    )


def _culprit(model: nn.Module, repeat: Callable[[], object]) -> str:
    for name, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            return f"The parameter {name} is not finite"
    return (
        f"The first output that is not finite is that of {first_non_finite(model, repeat) or 'no layer, in eval mode'}"
    )


@torch.no_grad()
def first_non_finite(model: nn.Module, repeat: Callable[[], object]) -> str | None:
    """Name of the first submodule whose output is not finite in ``repeat()``, as ``name (Class)``."""
    found: list[str] = []

    def watch(name: str, layer: nn.Module) -> torch.utils.hooks.RemovableHandle:
        def hook(module: nn.Module, args: object, output: object) -> None:
            tensors = output if isinstance(output, tuple) else (output,)
            if not found and any(isinstance(t, Tensor) and not torch.isfinite(t).all() for t in tensors):
                found.append(f"{name} ({type(module).__name__})")

        return layer.register_forward_hook(hook)

    handles = [watch(name, layer) for name, layer in model.named_modules() if name]
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        repeat()
    finally:
        for module, mode in modes:
            module.training = mode
        for handle in handles:
            handle.remove()
    return found[0] if found else None
