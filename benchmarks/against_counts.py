"""Counts of what a training step does, for :mod:`against`."""

import weakref
from collections import Counter
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

HOST_READS = ("aten::_local_scalar_dense", "aten::nonzero", "aten::equal", "aten::masked_select")
"""Operators for which the host waits for the device."""
VIEWS = ("aten::_unsafe_view", "aten::detach", "aten::alias", "prim::device")
"""Views that torch does not mark as such."""


class Counts(TorchDispatchMode):
    """Counts operators of forward and backward by name, except views, which compute nothing; and memory.

    ``peak`` is the largest number of bytes of the tensors that exist at the same time, except earlier ones.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operators: Counter[str] = Counter()
        self.alive: dict[int, int] = {}
        self.total = self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.name().partition(".")[0]
        if not (func.is_view or name in VIEWS or name.startswith("profiler::")):
            self.operators[name] += 1
            for value in tree_leaves(result):
                self._add(value)
        return result

    def _add(self, value: Any) -> None:
        if isinstance(value, Tensor):
            storage = value.untyped_storage()
            key, size = storage.data_ptr(), storage.nbytes()
            if key and key not in self.alive:
                self.alive[key] = size
                self.total += size
                self.peak = max(self.peak, self.total)
                weakref.finalize(storage, self._remove, key)

    def _remove(self, key: int) -> None:
        self.total -= self.alive.pop(key)

    @property
    def host_reads(self) -> int:
        """Number of operators that make the host wait for the device."""
        return sum(self.operators[name] for name in HOST_READS)
