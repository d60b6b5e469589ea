"""One's own pictures, in a folder or a tar archive."""

from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_info

from lightning_flows.datamodules.pictures import PictureDataModule
from lightning_flows.datasets import ImageDataset, PictureFiles
from lightning_flows.datasets.picture_files import check_format
from lightning_flows.errors import DataError


class ImageFolder(PictureDataModule):
    """Pictures of any size, by class or flat, resized and cropped to a square.

    With ``train/ val/ test/`` subfolders these are the parts. With train and test but no val, one seeded half of test
    validates and the other half tests, so that all training pictures train. Without such subfolders seeded fractions
    of the pictures validate and test. ``predict`` scores the test folder where there is one, else every picture.

    Args:
        root: folder or .tar (.tar.gz) of pictures; for layouts see docs/own-pictures.md.
        size: height and width in pixels; the shorter side is resized to it and the centre cropped.
        channels: 3 for RGB, 1 for grey.
        val_fraction: fraction of the pictures that validates, where there are no subfolders.
        test_fraction: fraction of the pictures that tests, where there are no subfolders.
        kwargs: arguments of :class:`PictureDataModule`.

    Raises: ShapeError for an impossible size or number of channels; DataError for fractions outside [0, 1].
    """

    predict_part = "predict"

    def __init__(
        self,
        root: str = "data",
        *,
        size: int = 32,
        channels: int = 3,
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_format(size, channels)
        if min(val_fraction, test_fraction) < 0 or val_fraction + test_fraction > 1:
            raise DataError(
                f"expected val_fraction and test_fraction of at least 0 and 1 at most together; "
                f"got {val_fraction} and {test_fraction}"
            )

    @property
    def event_shape(self) -> tuple[int, int, int]:
        """(channels, size, size)."""
        return self.hparams["channels"], self.hparams["size"], self.hparams["size"]

    def load_part(self, part: str) -> ImageDataset:
        """Read one part and tell, once, what was resized and cropped.

        Raises: DataError for a missing, empty or broken root, a broken picture, or a part without pictures.
        """
        files = PictureFiles(self.hparams["root"])
        names = self.split(files.parts)[part]
        if not names:
            found = ", ".join(
                f"{len(names)} in {key}/" if key else f"{len(names)}" for key, names in files.parts.items()
            )
            raise DataError(
                f"{self.hparams['root']} gives no pictures to {part} (pictures found: {found}): add a {part}/ folder, "
                "or more pictures, or change val_fraction and test_fraction"
            )
        progress = self.trainer is None or self.trainer.is_global_zero
        size, channels = self.hparams["size"], self.hparams["channels"]
        dataset, report = files.read(names, size=size, channels=channels, progress=progress)
        rank_zero_info(f"{part}: {report}")
        return dataset

    def split(self, parts: dict[str, list[str]]) -> dict[str, list[str]]:
        """Return the sorted names of each part, from the names in each subfolder (``""``: none)."""
        if "" in parts:
            num = len(parts[""])
            num_val, num_test = (round(self.hparams[key] * num) for key in ("val_fraction", "test_fraction"))
            num_test = min(num_test, num - num_val)
            train, val, test = self._shuffled_split(parts[""], [num - num_val - num_test, num_val, num_test])
            return {"train": train, "val": val, "test": test, "predict": parts[""]}
        train, val, test = (parts.get(part, []) for part in ("train", "val", "test"))
        every = test or [name for names in parts.values() for name in names]
        if train and test and not val:
            val, test = self._shuffled_split(test, [len(test) // 2, len(test) - len(test) // 2])
        return {"train": train, "val": val, "test": test, "predict": every}

    def _shuffled_split(self, names: list[str], lengths: list[int]) -> list[list[str]]:
        order = torch.randperm(len(names), generator=torch.Generator().manual_seed(self.hparams["seed"]))
        return [[names[i] for i in sorted(chosen.tolist())] for chosen in order.split(lengths)]
