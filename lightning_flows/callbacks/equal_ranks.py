"""Processes that train together must hold the same model."""

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from lightning_flows.errors import RankError
from lightning_flows.functional.ranks import gather_from_ranks


class EqualRanks(Callback):
    """After each epoch, compare the parameters and buffers of all processes, bit by bit, by a checksum.

    Processes that differ, as after a fault of the network or of a device, would go on training different models without
    a word. One checksum an epoch costs a pass over the parameters.

    Raises: RankError if they differ.
    """

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare."""
        self._compare(pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare, and tell."""
        checksum = self._compare(pl_module)
        rank_zero_info(f"all {trainer.world_size} processes hold the same parameters, checksum {checksum:016x}")

    def _compare(self, pl_module: LightningModule) -> int:
        own = checksum([*pl_module.parameters(), *pl_module.buffers()]).to(pl_module.device)
        values = gather_from_ranks(own)
        if different := [rank for rank, value in enumerate(values) if value != values[0]]:
            raise RankError(
                f"expected all processes to hold the same parameters; those of rank {', '.join(map(str, different))} "
                "differ from those of rank 0: check the devices and the network, then go on from the last checkpoint"
            )
        return values[0] % 2**64


def checksum(tensors: list[Tensor]) -> Tensor:
    r"""Sum over the bytes of each tensor, times an odd number of their place, chained over tensors: an int64 ``()``.

    .. math:: c_i = a\,c_{i-1} + \sum_n (b + 2dn)\,\mathrm{byte}_n(x_i) \mod 2^{64}

    with odd a and b. A single byte that changes changes it, and, but by chance, so does any other change.
    """
    total = torch.zeros((), dtype=torch.long, device=tensors[0].device if tensors else None)
    for tensor in tensors:
        data = tensor.detach().contiguous().flatten().view(torch.uint8).long()
        place = torch.arange(len(data), device=data.device)
        total = A * total + (data * (B + 2 * D * place)).sum().to(total.device)
    return total


A, B, D = 0x5851F42D4C957F2D, 0x1E3779B97F4A7C15, 0x2545F491
