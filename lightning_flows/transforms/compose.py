"""Composition and inversion."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lightning_flows.errors import UsageError
from lightning_flows.functional.advanced import advanced
from lightning_flows.functional.recompute import Recomputation
from lightning_flows.functional.solver import Solver
from lightning_flows.nets.advance import Owner, advance
from lightning_flows.nets.spectral_norm import SpectralNorm
from lightning_flows.transforms.base import Reported, Result, Shape, Transform


class Compose(Transform):
    r"""Composition :math:`z = f_n(\dots f_1(x))`; log-determinants add up, reports are concatenated.

    With a :class:`Recomputation` as ``recompute``, transforms keep only their input in training. The outermost
    composition advances the power iterations of all layers below it together, before its first layer.
    Shapes: x is that of the first transform, z that of the last; log_det ``(B,)`` in nats.

    >>> from lightning_flows.transforms import Affine, Sigmoid
    >>> Compose([Affine(shift=128, scale=256), Sigmoid()])(torch.tensor([[128.0, 384.0]]))
    (tensor([[0.5000, 0.7311]]), tensor([-14.1032]))
    """

    recompute: Recomputation | None = None

    def __init__(self, transforms: Sequence[Transform]) -> None:
        super().__init__(transforms[0].event_shape if transforms else None)
        self.transforms = nn.ModuleList(transforms)
        self.adopted = _adopt(self)

    def forward(self, x: Tensor, context: Any = None) -> Result:
        return self._chain("__call__", x, context)[:2]

    def inverse(self, z: Tensor, context: Any = None) -> Result:
        return self._chain("inverse", z, context, backwards=True)[:2]

    def decode(self, z: Tensor, context: Any = None, solver: Solver | None = None) -> Tensor:
        pairs = list(zip(self.transforms, self.contexts(context), strict=True))
        for transform, own in reversed(pairs):
            z = transform.decode(z, own, solver)
        return z

    def forward_reported(self, x: Tensor, context: Any = None) -> Reported:
        return self._chain("forward_reported", x, context)

    def inverse_reported(self, z: Tensor, context: Any = None) -> Reported:
        return self._chain("inverse_reported", z, context, backwards=True)

    @property
    def volume_preserving(self) -> bool:  # type: ignore[override]
        """Whether all transforms are, including those that were appended later."""
        return all(transform.volume_preserving for transform in self.transforms)

    def check(self, x: Tensor, context: Any, shape: Shape | None) -> None:
        """Check the dtype and device; the transforms check their shapes, so that an error names one of them."""
        super().check(x, context, None)

    def contexts(self, context: Any) -> list[Any]:
        """The context of each transform: the same for all of them."""
        return [context] * len(self.transforms)

    def _chain(self, method: str, x: Tensor, context: Any, *, backwards: bool = False) -> Reported:
        """Apply a method of each transform in turn, after the power iterations of this composition."""
        if backwards or not self.adopted:
            return self._evaluate(method, x, context, backwards=backwards)
        advance(self.adopted)
        if torch.compiler.is_compiling():
            return self._evaluate(method, x, context)
        with advanced():
            return self._evaluate(method, x, context)

    def _evaluate(self, method: str, x: Tensor, context: Any, *, backwards: bool = False) -> Reported:
        """Apply a method of each transform in turn; in training, recompute those with parameters if requested."""
        total: Tensor | float = 0.0
        reports: list[NamedTuple] = []
        recompute = self.recompute if self.training and torch.is_grad_enabled() else None
        steps: Any = list(enumerate(zip(self.transforms, self.contexts(context), strict=True)))
        for i, (transform, own) in reversed(steps) if backwards else steps:
            if recompute is None or not any(True for _ in transform.parameters()):
                x, log_det, *found = getattr(transform, method)(x, own)
            else:
                x, log_det, *found = recompute(str(i), transform, method, x, own)
            total = total if transform.volume_preserving else total + log_det
            reports = reports + (found[0] if found else [])
        return x, total, reports

    @property
    def latent_shape(self) -> Shape | None:
        return self.transforms[-1].latent_shape if len(self.transforms) else None  # type: ignore[return-value]

    def output_shape(self, event_shape: Sequence[int]) -> tuple[int, ...]:
        for transform in self.transforms:
            event_shape = transform.output_shape(event_shape)
        return tuple(event_shape)

    def extra_repr(self) -> str:
        return ""  # the transforms show their shapes


def _adopt(module: nn.Module) -> list[Owner]:
    """Take over the power iterations below a module, also from compositions; an inverse never advances one."""
    found: list[Owner] = []
    for child in module.children():
        if isinstance(child, Invert):
            continue
        if isinstance(child, Compose):
            child.adopted = []
        if isinstance(norm := getattr(child, "spectral_norm", None), SpectralNorm):
            norm.adopted = True
            found.append(child)  # type: ignore[arg-type]
        found += _adopt(child)
    return list(dict.fromkeys(found))  # a module may occur twice


class Invert(Transform):
    r"""The inverse of a transform that preserves the shape: :math:`z = f^{-1}(x)`.

    Useful if sampling should be the cheap direction of a layer. Its inverse is a forward of the transform, which in
    train mode initializes it and advances its power iterations. Shapes: x, z those of the transform.

    >>> from lightning_flows.transforms import Sigmoid
    >>> logit = Invert(Sigmoid())
    >>> logit(torch.tensor([[0.5, 0.75]]))
    (tensor([[0.0000, 1.0986]]), tensor([3.0603]))
    """

    def __init__(self, transform: Transform) -> None:
        super().__init__(transform.latent_shape)
        self.transform = transform

    @property
    def volume_preserving(self) -> bool:  # type: ignore[override]
        """Whether the transform is."""
        return bool(self.transform.volume_preserving)

    def forward(self, x: Tensor, context: Any = None) -> Result:
        return self.transform.inverse(x, context)

    def inverse(self, z: Tensor, context: Any = None) -> Result:
        return self.transform(z, context)

    def forward_reported(self, x: Tensor, context: Any = None) -> Reported:
        return self.transform.inverse_reported(x, context)

    def inverse_reported(self, z: Tensor, context: Any = None) -> Reported:
        return self.transform.forward_reported(z, context)

    @property
    def num_parameters(self) -> int:  # type: ignore[override]
        """That of the transform."""
        return self.transform.num_parameters

    @property
    def latent_shape(self) -> Shape | None:
        return self.transform.event_shape

    def output_shape(self, event_shape: Sequence[int]) -> tuple[int, ...]:
        if self.transform.output_shape(event_shape) != tuple(event_shape):
            raise UsageError(f"expected a transform that preserves the shape; got {type(self.transform).__name__}")
        return tuple(event_shape)

    def extra_repr(self) -> str:
        return ""  # the transform shows its shape
