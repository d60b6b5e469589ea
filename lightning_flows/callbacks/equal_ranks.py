"""All ranks must hold the same model."""

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from lightning_flows.errors import RankError
from lightning_flows.functional.ranks import gather_from_ranks

CHAIN, OFFSET, STEP = 0x5851F42D4C957F2D, 0x1E3779B9, 0x2545F491
"""Odd multipliers of :func:`checksum`."""


class EqualRanks(Callback):
    """After each epoch, compare the parameters and buffers of all ranks bit for bit, by a checksum.

    Ranks that differ, for example after a network or device fault, would otherwise silently train different models.
    A checksum costs one pass over the parameters. In return, DistributedDataParallel does not broadcast the buffers
    before each step: they are constants, or functions of parameters that are equal on all ranks. Does nothing in a
    single process.

    Raises: RankError if they differ.

    >>> one, other = checksum([torch.tensor([1.0, 2.0])]), checksum([torch.tensor([2.0, 1.0])])
    >>> bool(one == other)  # ranks with these parameters would end the run
    False
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if isinstance(trainer.strategy.model, DistributedDataParallel):
            model = trainer.strategy.model
            is_new = hasattr(model, "forward_sync_buffers")  # torch 2.6 only has broadcast_buffers
            setattr(model, "forward_sync_buffers" if is_new else "broadcast_buffers", False)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.world_size > 1:
            self._compare(pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.world_size > 1:
            value = self._compare(pl_module)
            rank_zero_info(f"all {trainer.world_size} ranks hold the same parameters, checksum {value:016x}")

    def _compare(self, pl_module: LightningModule) -> int:
        own = checksum([*pl_module.parameters(), *pl_module.buffers()]).to(pl_module.device)
        values = gather_from_ranks(own)
        if different := [rank for rank, value in enumerate(values) if value != values[0]]:
            raise RankError(
                f"the parameters of rank {', '.join(map(str, different))} differ from those of rank 0: check the "
                "devices and the network, then resume from the last checkpoint"
            )
        return values[0] % 2**64


def checksum(tensors: list[Tensor]) -> Tensor:
    r"""Sum over the 32-bit words of each tensor, weighted by position and chained over tensors: an int64 ``()``.

    .. math:: c_i = a\,c_{i-1} + \sum_n \left((b + 2dn)\,\mathrm{word}_n(x_i) \bmod 2^{32}\right) \mod 2^{64}

    with odd a and b. Changing a single word always changes the checksum; any other change almost certainly does. If the
    size of a tensor is not a multiple of four bytes, its bytes count as words.
    """
    total = torch.zeros((), dtype=torch.long, device=tensors[0].device if tensors else None)
    for tensor in tensors:
        data = tensor.detach().contiguous().flatten().view(torch.uint8)
        words = data.int() if data.numel() % 4 else data.view(torch.int32)
        position = torch.arange(len(words), dtype=torch.int32, device=words.device)
        total = CHAIN * total + ((2 * STEP * position + OFFSET) * words).sum().to(total.device)  # sums in int64
    return total
