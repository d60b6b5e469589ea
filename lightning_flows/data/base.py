"""The base of all data modules: what the command line and the trainer need of any data."""

from abc import ABC, abstractmethod
from collections.abc import Sized
from typing import Any, cast

from lightning.pytorch import LightningDataModule
from lightning.pytorch.overrides.distributed import UnrepeatedDistributedSampler
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lightning_flows.checkpoints import construct, read_checkpoint
from lightning_flows.errors import CheckpointError, DataError
from lightning_flows.functional.ranks import num_ranks, rank

PARTS = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",), "predict": ("predict",)}
"""The parts that each stage needs."""

Loader = DataLoader[dict[str, Tensor]]


class FlowDataModule(LightningDataModule, ABC):
    """Data for a flow: batches are dicts of tensors with ``"index"`` int64 (B,), an item's place in its part.

    A subclass takes plain values and hands its arguments on: the base keeps them in ``hparams``, from which a
    checkpoint rebuilds it. Evaluation sees each item exactly once, whatever the number of devices.
    """

    def __init__(self) -> None:
        super().__init__()
        # the arguments of the subclasses; loggers get the model's alone, which may have the same names
        self.save_hyperparameters(logger=False)

    @classmethod
    def load_from_checkpoint(  # type: ignore[override]
        cls, checkpoint_path: Any, *, map_location: Any = None, **kwargs: Any
    ) -> Any:
        """Rebuild the data of this class that a checkpoint was trained on; kwargs override the saved arguments."""
        record = read_checkpoint(checkpoint_path)["lightning_flows"]
        if "data" not in record:
            raise CheckpointError(
                f"{checkpoint_path} does not say on what data it was trained: build {cls.__name__} anew"
            )
        return construct(cls, {**record["data"]["init_args"], **kwargs})

    @property
    @abstractmethod
    def event_shape(self) -> tuple[int, ...]:
        """Shape of an item without the batch; known from the start."""

    @property
    @abstractmethod
    def num_test(self) -> int:
        """Number of items that test."""

    def split_arguments(self) -> tuple[str, ...]:
        """Return the names of the arguments that determine the splits; empty if the data itself does."""
        return ()

    def steps_done(self) -> int:
        """Return the steps of the epoch that a resumed run has behind it when it asks for its first training batch."""
        if self.trainer is None or not self.trainer.training:
            return 0
        return self.trainer.fit_loop.epoch_loop.batch_progress.current.ready

    @abstractmethod
    def eval_dataloader(self, part: str) -> Loader:
        """Return the items of a part (val, test or predict) in order, each once."""

    def val_dataloader(self) -> Loader:
        """Return the validation items in order, each once."""
        return self.eval_dataloader("val")

    def test_dataloader(self) -> Loader:
        """Return the test items in order, each once."""
        return self.eval_dataloader("test")

    def predict_dataloader(self) -> Loader:
        """Return the items to score in order, each once; ``predict_names`` names them by index."""
        return self.eval_dataloader("predict")


def not_loaded(part: str) -> RuntimeError:
    """Return the error for a part that ``setup`` has not made."""
    stages = " or ".join(f"setup({stage!r})" for stage, parts in PARTS.items() if part in parts)
    return RuntimeError(f"the {part} part is not loaded: call {stages} first")


def each_once(dataset: Dataset[dict[str, Tensor]], name: str) -> UnrepeatedDistributedSampler | None:
    """Return a sampler by which all ranks together see each item once, in order; None for one rank.

    It neither pads nor repeats, and Lightning leaves a DistributedSampler alone.

    Raises: DataError if there are fewer items than ranks; ``name`` says of what, for example "val image".
    """
    if num_ranks() == 1:
        return None
    num = len(cast(Sized, dataset))
    if num < num_ranks():
        raise DataError(
            f"expected at least one {name} a process; got {num} for {num_ranks()} processes: use fewer devices"
        )
    return UnrepeatedDistributedSampler(dataset, num_replicas=num_ranks(), rank=rank(), shuffle=False)
