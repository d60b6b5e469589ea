"""Your own table of numbers, such as a CSV file."""

from functools import cached_property
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor

from lightning_flows.data.base import FlowDataModule
from lightning_flows.data.datasets.rows import RowDataset
from lightning_flows.data.tables import TableFile, chosen_columns, open_table
from lightning_flows.data.tables.base import shown
from lightning_flows.data.tables.columns import Moments, doubts, is_integer, moments, with_noise
from lightning_flows.data.tables.splits import split_rows
from lightning_flows.errors import DataError, UsageError, check_fractions
from lightning_flows.functional.nested import listed

LARGEST = 2**20
"""Limit on the absolute values of integers to which noise is added: float32 has at least four binary places for it."""


class TableDataModule(FlowDataModule):
    r"""Rows of a table of numbers: CSV or other text, .npy, .npz, or Parquet if pyarrow is installed.

    Batches are ``{"row": float32 (B, D), "index": int64 (B,)}``, in the units of the file. Text, missing values, NaN
    and infinity are errors that name row and column. The split of a row depends only on its values and the seed, see
    :func:`split_rows`. ``predict`` scores all rows in order.

    The names of the columns are stored in a checkpoint as ``columns``, so that other files are read by name.

    Args:
        path: the file with the table.
        columns: names of the columns to use, in this order; default: all. Columns without names are called
            ``column_1``, ``column_2``, ….
        drop: names of columns to leave out, such as a label.
        dequantize: names of columns of integers to which noise uniform in [0, 1) is added, so that their density is
            bounded: its mean over the noise is a lower bound of the log-probability of the integers.
        drop_constant: leave out columns with a single value in the training rows instead of raising an error.
        header: whether the first line of text names the columns; default: if it is not numbers.
        delimiter: what separates the fields of text; default: tab, ``;``, ``,``, ``|`` or spaces, whichever fits.
        array: name of the array in an .npz file with several.
        val_fraction: fraction of the rows for validation.
        test_fraction: fraction of the rows for testing.
        batch_size: rows per training batch and device.
        eval_batch_size: rows per validation, test or prediction batch and device.
        kwargs: other arguments of :class:`FlowDataModule`.

    Raises: UsageError for fractions outside [0, 1]; DataError for a file that is missing, empty or no table, and for
    unknown columns.

    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "table.csv")
    ...     _ = path.write_text("x,y,label\n" + "".join(f"{i},{i * i},0\n" for i in range(100)))
    ...     data = TableDataModule(str(path), drop=["label"], batch_size=10)
    ...     data.setup("fit")
    >>> data.event_shape, data.names, next(iter(data.train_dataloader()))["row"].shape
    ((2,), ['x', 'y'], torch.Size([10, 2]))
    """

    predict_split = "predict"

    def __init__(
        self,
        path: str = "data/table.csv",
        *,
        columns: list[str] | None = None,
        drop: list[str] | str | None = None,
        dequantize: list[str] | str | None = None,
        drop_constant: bool = False,
        header: bool | None = None,
        delimiter: str | None = None,
        array: str | None = None,
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        batch_size: int = 1024,
        eval_batch_size: int | None = 8192,
        **kwargs: Any,
    ) -> None:
        super().__init__(batch_size=batch_size, eval_batch_size=eval_batch_size, **kwargs)
        check_fractions(val_fraction, test_fraction)
        chosen = chosen_columns(self._file, columns, listed(drop))
        self._names = [self._file.names[i] for i in chosen]
        if unknown := [name for name in listed(dequantize) if name not in self._names]:
            raise UsageError(f"--data.dequantize names {shown(unknown)}: choose columns among {shown(self._names)}")
        if drop_constant:
            self._leave_out_constants()
        # what a checkpoint needs, whatever file it is applied to
        self.hparams.update(
            columns=list(self._names), drop=None, drop_constant=False, dequantize=self._dequantized or None
        )

    @property
    def _fractions(self) -> dict[str, float]:
        return {name: self.hparams[f"{name}_fraction"] for name in ("val", "test")}

    @property
    def names(self) -> list[str]:
        """Names of the columns."""
        return list(self._names)

    @property
    def event_shape(self) -> tuple[int]:
        return (len(self._names),)

    def split_arguments(self) -> tuple[str, ...]:
        return "seed", "val_fraction", "test_fraction"

    @property
    def predicts_training_items(self) -> bool:
        return True  # all rows

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the columns in the training rows with their noise, float64 ``(D,)``."""
        return with_noise(self._moments, self._noisy)

    def load_split(self, split: str) -> RowDataset:
        """Read the table once, and select the rows of a split.

        Raises: DataError for values that are not finite numbers, constant columns, and too few rows.
        """
        if split == "train":
            self._check()
        positions = None if split == "predict" else self._positions[split]
        if positions is not None and not len(positions):
            raise self._too_few(split)
        return RowDataset(self._values, positions, dequantized=self._noisy, seed=self.hparams["seed"])

    @property
    def _dequantized(self) -> list[str]:
        return [name for name in self._names if name in listed(self.hparams["dequantize"])]

    @property
    def _noisy(self) -> list[int]:
        return [self._names.index(name) for name in self._dequantized]

    @cached_property
    def _file(self) -> TableFile:
        return open_table(self.hparams["path"], **{key: self.hparams[key] for key in ("header", "delimiter", "array")})

    @cached_property
    def _values(self) -> Tensor:
        """The chosen columns, float32 ``(N, D)``."""
        found = self._file.read([self._file.names.index(name) for name in self._names])
        if not len(found):
            raise DataError(f"{self._file.path} has no rows: use a table with some")
        fractional = [self._names[i] for i in self._noisy if not bool(is_integer(found[:, i : i + 1]))]
        large = [self._names[i] for i in self._noisy if not bool(found[:, i].abs().max() < LARGEST)]
        if large:
            raise DataError(
                f"{self._file.path} has columns to dequantize whose absolute values reach {LARGEST:,} ({shown(large)}"
                "), too large for float32 to resolve noise in [0, 1): subtract a constant from them, or divide them"
            )
        if fractional:
            raise DataError(
                f"{self._file.path} has columns to dequantize whose values are not all integers ({shown(fractional)}): "
                "take them out of --data.dequantize"
            )
        return found

    @cached_property
    def _positions(self) -> dict[str, Tensor]:
        """Rows of each split, in order of the file."""
        return split_rows(self._values, self.hparams["seed"], self._fractions)

    @cached_property
    def _moments(self) -> Moments:
        if len(self._positions["train"]) < 2:
            raise self._too_few("train")
        return moments(self._values, self._positions["train"])

    def _leave_out_constants(self) -> None:
        left_out = []
        while bool((constant := self._moments.is_constant).any()):
            if bool(constant.all()):
                raise DataError(f"all columns of {self._file.path} are constant: use a table whose values vary")
            left_out += [name for name, each in zip(self._names, constant, strict=True) if each]
            self._names = [name for name in self._names if name not in left_out]
            self._values = self._values[:, ~constant].contiguous()
            del self._moments, self._positions  # other values are split differently
        if left_out:
            rank_zero_info(f"{self._file.path}: left out the constant columns {shown(left_out, 100)}")

    def _too_few(self, split: str) -> DataError:
        num, few = len(self._values), len(self._positions[split])
        if num < 4:
            found = f"{self._file.path} has {num} row{'s' * (num > 1)}, too few to split into train, val and test"
            return DataError(f"{found}: use a table with more rows")
        advice = "use a table with more rows, or change --data.val_fraction and --data.test_fraction"
        wanted = {"train": 2} | {name: 1 for name, fraction in self._fractions.items() if fraction}
        if split in wanted and num < 10_000:  # too few only by chance
            for seed in range(100):
                positions = split_rows(self._values, seed, self._fractions)
                if all(len(positions[name]) >= least for name, least in wanted.items()):
                    advice += f", or use --data.seed={seed}, for which there are enough"
                    break
        return DataError(
            f"{self._file.path} has {num:,} rows, of which {few} for {split} (equal rows share a split): {advice}"
        )

    def _check(self) -> None:
        """Tell what is read. Raises: DataError for constant columns."""
        path, found, num = self._file.path, self._moments, len(self._values)
        constant = [name for name, each in zip(self._names, found.is_constant, strict=True) if each]
        if constant:
            raise DataError(
                f"{path} has columns with a single value in the training rows ({shown(constant)}), which have no "
                "density: leave them out with --data.drop_constant=true"
            )
        sizes = ", ".join(f"{name} {len(part):,}" for name, part in self._positions.items())
        rank_zero_info(f"{path}: {num:,} rows ({sizes}) of {len(self._names)} columns: {shown(self._names)}")
        if not self._file.has_names:
            rank_zero_info(f"{path}: the columns have no names, and are called column_1, column_2, …")
        for line in doubts(self._values, self._positions["train"], found, self._names, self._noisy):
            rank_zero_warn(f"{Path(path)}: {line}")
