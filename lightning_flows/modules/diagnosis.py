"""Find out when a training step is not finite, without waiting for the device, and which layer is the first."""

from collections.abc import Callable, Mapping
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lightning_flows.errors import NonFiniteError


class _Step(NamedTuple):
    """A training step whose log-probabilities are being checked: ``finite`` is on the host once ``copied`` is done."""

    number: int
    batch: Mapping[str, Tensor]
    terms: dict[str, Tensor]
    log_prob: Tensor
    flag: Tensor
    finite: Tensor
    copied: Any


class FiniteSteps:
    """Raises NonFiniteError for training steps whose log-probabilities are not finite.

    On the CPU, where this costs nothing, it raises in the step itself. On other devices, it raises one step later, or
    before anything is written or evaluated (:meth:`look`), so that the host does not wait for the current step.
    """

    def __init__(self) -> None:
        self._step: _Step | None = None

    def add(
        self,
        number: int,
        batch: Mapping[str, Tensor],
        terms: dict[str, Tensor],
        log_prob: Tensor,
        model: nn.Module,
        repeat: Callable[[Any], object],
    ) -> None:
        """Start to check a step, given its log-probabilities ``(B,)`` and their terms; see :meth:`look`."""
        self.look(model, repeat)
        flag = log_prob.isfinite().all()
        finite, copied = flag, None
        if flag.is_cuda:
            finite = torch.empty((), dtype=torch.bool, pin_memory=True).copy_(flag, non_blocking=True)
            copied = torch.cuda.Event()
            copied.record()
        self._step = _Step(number, batch, terms, log_prob, flag, finite, copied)
        if not is_late(flag.device):
            self.look(model, repeat)

    def look(self, model: nn.Module, repeat: Callable[[Any], object]) -> None:
        """Wait for the last check, and raise NonFiniteError if it failed; ``repeat`` recomputes a batch."""
        step, self._step = self._step, None
        if step is None:
            return
        if step.copied is not None:
            step.copied.synchronize()
        if not step.finite:
            names = [name for name, term in step.terms.items() if not term.isfinite().all()]
            when = f" in step {step.number}{' because of ' * bool(names)}{' and '.join(names)}"
            raise NonFiniteError(_message(step.log_prob, model, lambda: repeat(step.batch), "training", when))

    def guard(self, optimizer: torch.optim.Optimizer) -> None:
        """Make a fused update depend on the pending check: the weights do not change if it fails."""
        if self._step is not None and all(group.get("fused") for group in optimizer.param_groups):
            optimizer.found_inf = (~self._step.flag).float()  # type: ignore[attr-defined]


def is_late(device: torch.device) -> bool:
    """Whether training steps are checked a step later, because reading from the device waits for it."""
    return device.type != "cpu"


def check_finite(values: Tensor, model: nn.Module, repeat: Callable[[], object], stage: str) -> None:
    """Raise NonFiniteError, naming the first layer that is not finite, unless all values are; ``repeat`` recomputes."""
    if not torch.isfinite(values).all():
        raise NonFiniteError(_message(values, model, repeat, stage))


def check_parameters(model: nn.Module) -> None:
    """Raise NonFiniteError, naming a parameter that is not finite, or a buffer with NaN, if there is one."""
    for name, values in chain(model.named_parameters(), model.named_buffers()):
        if values.isnan().any() or (isinstance(values, nn.Parameter) and not values.isfinite().all()):
            raise NonFiniteError(f"{name} of the model is not finite: use an earlier checkpoint")


def check_weights(model: nn.Module) -> None:
    """Raise NonFiniteError unless all parameters are finite; reads once from the device."""
    parameters = [parameter.detach() for parameter in model.parameters() if parameter.numel()]
    if parameters and not torch.nn.utils.get_total_norm(parameters, torch.inf).isfinite():
        raise NonFiniteError(f"{_culprit(model, lambda: None)}, so no checkpoint was written. {ADVICE}")


ADVICE = (
    "Earlier checkpoints are unchanged: resume from one with a smaller learning rate, a longer warm-up or a smaller "
    "gradient_clip_val"
)


def _message(values: Tensor, model: nn.Module, repeat: Callable[[], object], stage: str, when: str = "") -> str:
    bad = int((~torch.isfinite(values)).sum())
    return (
        f"expected finite log-probabilities in {stage}; got {bad} of {values.numel()} not finite{when}. "
        f"{_culprit(model, repeat)}. {ADVICE}"
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
