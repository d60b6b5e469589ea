"""Layers of other libraries, with the interface that the checks expect.

None of these libraries is imported: an adapter needs only the methods that it names.
"""

from typing import Any

from torch import Tensor, nn

from lightning_flows.errors import UsageError

Result = tuple[Tensor, Tensor]


def adapt(layer: Any) -> nn.Module:
    """Wrap a layer in the adapter for the methods that it has.

    - ``inv``: :class:`ZukoLayer`, of zuko and torch.distributions
    - ``forward(x, rev=…, jac=…)``: :class:`FrEIALayer`
    - ``forward`` and ``inverse``: :class:`PairLayer`, of normflows and nflows

    Raises: UsageError for others.

    >>> from lightning_flows.transforms import Affine
    >>> adapt(Affine(shift=0.3, scale=2.0))
    PairLayer(
      (layer): Affine(shift=0.3, scale=2.0)
    )
    """
    if hasattr(type(layer), "inv") and not hasattr(layer, "inverse"):  # a property: not evaluated here
        return ZukoLayer(layer)
    code = getattr(getattr(type(layer), "forward", None), "__code__", None)
    names = () if code is None else code.co_varnames[: code.co_argcount]
    if "rev" in names:
        return FrEIALayer(layer)
    if isinstance(layer, nn.Module) and hasattr(layer, "inverse"):
        return PairLayer(layer)
    raise UsageError(
        f"{type(layer).__name__} has none of the interfaces of normflows, nflows, zuko and FrEIA: write a module with "
        "forward and inverse, which return (z, log_det)"
    )


class PairLayer(nn.Module):
    """A layer of normflows or nflows: ``forward`` and ``inverse`` return ``(z, log_det)``.

    A log-determinant that is a single number applies to each item. normflows calls the
    map from latent to data ``forward``; the checks are the same in both directions.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, *context: Any) -> Result:
        z, log_det = self.layer(x, *context)
        return z, per_item(log_det, x)

    def inverse(self, z: Tensor, *context: Any) -> Result:
        x, log_det = self.layer.inverse(z, *context)
        return x, per_item(log_det, z)


class FrEIALayer(nn.Module):
    """A layer of FrEIA with one input: lists of tensors, with ``rev`` for the inverse."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, *context: Any) -> Result:
        return self._call(x, context, rev=False)

    def inverse(self, z: Tensor, *context: Any) -> Result:
        return self._call(z, context, rev=True)

    def _call(self, x: Tensor, context: tuple[Any, ...], *, rev: bool) -> Result:
        (z,), log_det = self.layer([x], *([[*context]] if context else []), rev=rev, jac=True)
        return z, per_item(log_det, x)


class ZukoLayer(nn.Module):
    """A transformation of zuko or torch.distributions, or a lazy one, which returns it when called with the context.

    Transformations of single values return a log-derivative for each; they are summed over the event. A transformation
    that is not a module keeps its tensors in their dtype and on their device, so skip ``dtypes`` and ``meta``.
    """

    def __init__(self, transform: Any) -> None:
        super().__init__()
        self.transform = transform

    def forward(self, x: Tensor, context: Any = None) -> Result:
        return _call_and_ladj(self._built(context), x)

    def inverse(self, z: Tensor, context: Any = None) -> Result:
        return _call_and_ladj(self._built(context).inv, z)

    def _built(self, context: Any) -> Any:
        return self.transform(context) if isinstance(self.transform, nn.Module) else self.transform


def _call_and_ladj(transform: Any, x: Tensor) -> Result:
    if hasattr(transform, "call_and_ladj"):
        z, log_det = transform.call_and_ladj(x)
    else:
        z = transform(x)
        log_det = transform.log_abs_det_jacobian(x, z)
    return z, log_det.flatten(1).sum(1) if log_det.ndim > 1 else log_det


def per_item(log_det: Any, x: Tensor) -> Tensor:
    """Expand one log-determinant for all items of x, a number, ``()`` or ``(1,)``, to one for each.

    >>> import torch
    >>> per_item(2.0, torch.zeros(3, 5))
    tensor([2., 2., 2.])
    """
    if not isinstance(log_det, Tensor):
        return x.new_full((len(x),), log_det)
    return log_det.expand(len(x)) if log_det.shape in ((), (1,)) else log_det
