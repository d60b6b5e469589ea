"""Scores of held-out items, with which those of other items are compared."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks.progress import ProgressBar as AnyProgressBar
from lightning.pytorch.utilities import rank_zero_warn
from torch.utils.data import Sampler

from lightning_flows.callbacks.item_scores import joined, scored
from lightning_flows.callbacks.progress_lines import ProgressLines
from lightning_flows.data import FlowDataModule
from lightning_flows.errors import CheckpointError, DataError, FlowsError, UsageError, check_sizes
from lightning_flows.functional.ranks import gather_objects, num_ranks, rank
from lightning_flows.functional.streams import stream
from lightning_flows.progress import progress
from lightning_flows.reporting.outliers.conformal import check_attainable, check_rate
from lightning_flows.reporting.outliers.scores import Scored


class Calibration:
    """Score held-out items: the validation split of data, of which at most ``num`` are chosen at random.

    Args:
        source: function that returns the data.
        split: split that was not trained on: val, test or predict.
        num: largest number of items; 0 for none, and no p-values.
        false_alarm_rate: share of items like the held-out ones that may be flagged; None flags none.

    Raises: UsageError for a rate outside of 0 to 1, or with a rate but no held-out items; for the training split.
    """

    def __init__(
        self,
        source: Callable[[], FlowDataModule],
        *,
        split: str = "val",
        num: int = 1000,
        false_alarm_rate: float | None = None,
    ) -> None:
        check_sizes(0, num_held_out=num)
        if split == "train":
            raise UsageError("p-values need items that were not trained on: choose another split than train")
        if false_alarm_rate is not None:
            check_rate(false_alarm_rate)
            check_attainable(false_alarm_rate, num)
        self.source, self.split, self.num, self.false_alarm_rate = source, split, num, false_alarm_rate
        self.data: FlowDataModule | None = None

    def setup(self, trainer: Trainer) -> None:
        """Load the items; without them, warn that there are no p-values. Raises: UsageError if a rate needs them."""
        self.data = None
        if not self.num:
            return
        try:
            data = self.source()
            if trainer.is_global_zero:
                data.prepare_data()
            trainer.strategy.barrier("held-out data")
            data.setup({"val": "validate"}.get(self.split, self.split))
            if data.num_items(self.split) < num_ranks():
                raise DataError(f"the {self.split} split has fewer items than there are processes: use fewer devices")
        except FlowsError as error:
            rate, fact = self.false_alarm_rate, str(error).rpartition(": ")[0] or error  # its advice is for other data
            advice = "omit --false_alarm_rate" if rate is not None else "pass --num_held_out 0 to omit this warning"
            if len(getattr(trainer.lightning_module, "event_shape", ())) == 3:
                advice = f"pass --held_out with images like those in training, or {advice.removeprefix('pass ')}"
            if rate is not None:
                raise UsageError(f"--false_alarm_rate {rate:g} needs held-out items ({fact}): {advice}") from error
            rank_zero_warn(f"no p-values, because there are no held-out items ({fact}): {advice}")
            return
        if self.false_alarm_rate is not None:
            check_attainable(self.false_alarm_rate, min(self.num, data.num_items(self.split)))
        self.data = data
        self._report_copies(getattr(trainer, "datamodule", None))

    def scores(self, trainer: Trainer, pl_module: LightningModule) -> Scored | None:
        """Score the items on all ranks, which call this together; None without items, or without likelihoods."""
        if self.data is None:
            return None
        dataset, parts = self.data.dataset(self.split), []
        size = self.data.hparams["eval_batch_size"] or self.data.hparams["batch_size"]
        mine = _Chosen(self._chosen(self.data)[rank() :: num_ranks()])
        loader = self.data.loader(dataset, batch_size=size, sampler=mine)
        shown = any(isinstance(each, AnyProgressBar | ProgressLines) for each in trainer.callbacks)  # type: ignore[attr-defined]
        quiet = not trainer.is_global_zero or not shown
        for i, batch in enumerate(progress(loader, unit="batch", desc="scoring held-out items", quiet=quiet)):
            moved = trainer.strategy.batch_to_device(trainer.precision_plugin.convert_input(batch))
            outputs: Any = trainer.strategy.predict_step(moved, i)
            if (found := scored(outputs, getattr(pl_module, "unit", ""))) is None:
                raise CheckpointError("the model returns no log_likelihood to calibrate: pass --num_held_out 0")
            parts.append(found)
        found = joined([part for of_rank in gather_objects(parts) for part in of_rank])
        finite = found.loss.isfinite()
        if not finite.all():
            rank_zero_warn(f"{int((~finite).sum())} held-out items have no finite likelihood, and are left out")
        return Scored(found.loss[finite], None if found.png is None else found.png[finite])

    def _chosen(self, data: FlowDataModule) -> list[int]:
        """Sorted indices of the items that are used."""
        order = torch.randperm(data.num_items(self.split), generator=stream(0, "held-out items"))
        found: list[int] = order[: self.num].sort().values.tolist()
        return found

    def _report_copies(self, scored: Any) -> None:
        """Warn if files are scored that are held out, too, unless a warning that they were trained on says more."""
        if self.data is None or not isinstance(scored, FlowDataModule):
            return
        if self.data is scored and scored.predicts_training_items:
            return
        names = self.data.digests(self.split)
        held_out = {names[i] for i in self._chosen(self.data)} if names else set()
        files = scored.digests("predict") if held_out else []
        if copies := sum(each in held_out for each in files):
            rank_zero_warn(
                f"{copies} of the {len(files)} items that are scored are held-out items as well, and compared with "
                "themselves: their p-values do not tell whether they are outliers; hold out others with --held_out"
            )


class _Chosen(Sampler[int]):
    """The items with the given indices, in their order."""

    def __init__(self, indices: list[int]) -> None:
        self.indices = indices

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)
