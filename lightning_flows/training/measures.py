"""Memory of a training step on any device, and the name of a device for comparisons."""

from collections import Counter
from collections.abc import Callable, Iterable

import torch
from torch import Tensor


def bytes_kept(function: Callable[[], object], own: Callable[[], Iterable[Tensor]]) -> int:
    """Peak of the bytes that autograd saves for backward passes while a function, such as a forward, runs.

    Each storage counts once. Those of ``own()``, such as parameters and buffers, do not count, and neither do storages
    that replace them during the function.
    """
    held = [tensor.untyped_storage() for tensor in own()]  # or others could take the addresses of those replaced
    skipped = {storage.data_ptr() for storage in held}
    counts: Counter[int] = Counter()
    total = peak = 0

    class Saved:
        """A saved tensor, counted while a graph holds it."""

        def __init__(self, tensor: Tensor) -> None:
            nonlocal total, peak
            self.tensor, storage = tensor, tensor.untyped_storage()
            self.key, self.size = storage.data_ptr(), storage.nbytes()
            if self.key not in skipped:
                total += 0 if counts[self.key] else self.size
                counts[self.key] += 1
                peak = max(peak, total)

        def __del__(self) -> None:
            nonlocal total
            if self.key not in skipped:
                counts[self.key] -= 1
                total -= 0 if counts[self.key] else self.size

    with torch.autograd.graph.saved_tensors_hooks(Saved, lambda saved: saved.tensor):
        result = function()
    replaced = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in own()}
    kept = sum(size for key, size in replaced.items() if counts[key] and key not in skipped)
    del result  # with its graph
    return peak - kept


def device_name(device: torch.device) -> str:
    """The model of a GPU, or the vector instructions and the number of threads of a CPU; for others, their type.

    CPUs of different speed may have the same name.

    >>> device_name(torch.device("cpu"))[:5]  # such as "CPU (AVX2), 1 thread"
    'CPU ('
    """
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type != "cpu":
        return str(device)
    instructions, threads = torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()
    return f"CPU ({instructions}), {threads} thread{'s' * (threads != 1)}"
