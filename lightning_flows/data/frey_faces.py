"""Frey Faces: 1,965 frames of a video of one face."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from lightning_flows.data.datasets.array_files import read_array, read_mat, reading, to_levels
from lightning_flows.data.datasets.images import ImageDataset
from lightning_flows.data.datasets.pickled_array import unpickled_array
from lightning_flows.data.images import ImageDataModule
from lightning_flows.errors import DataError

NUM, HEIGHT, WIDTH = 1965, 28, 20
SPLITS = {"train": slice(1565), "val": slice(1565, 1765), "test": slice(1765, NUM)}
SPLIT_SEED = 123
MAX_BYTES = 2**26  # of a pickle: eight bytes per pixel and room for text
REMEDY = (
    "set --data.path to frey_rawface.mat from Sam Roweis's page of data, freyfaces.pkl from the code of van den Berg "
    "et al., or an .npz with `images` (1965 x 28 x 20, uint8)"
)


class FreyFacesDataModule(ImageDataModule):
    """Frey Faces, 28x20 grayscale with 256 levels: 1,565 train, 200 validate, 200 test.

    The faces are permuted by NumPy's legacy generator, ``RandomState(123)``, and split in this order: as van den Berg
    et al. (2018) do by default. ``names`` are positions in the file.

    Args:
        path: an ``.npz`` with the array ``images``, uint8 (1965, 28, 20); or ``frey_rawface.mat``, whose columns ``ff``
            are faces; or the pickle ``freyfaces.pkl``, (1965, 560), of which nothing is executed. Levels of pickles may
            be divided by 255.
        augment: flip training images at random and shift them.
        kwargs: other arguments of :class:`ImageDataModule`.

    Raises: DataError in ``setup`` if the file is missing, damaged, or has images of another shape.

    >>> data = FreyFacesDataModule("data/freyfaces.npz")  # read by setup
    >>> data.event_shape, data.num_levels
    ((1, 28, 20), 256)
    """

    def __init__(self, path: str = "data/freyfaces.npz", *, augment: bool = False, **kwargs: Any) -> None:
        super().__init__(augment=augment, **kwargs)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return 1, HEIGHT, WIDTH

    def load_split(self, split: str) -> ImageDataset:
        path = Path(self.hparams["path"])
        with reading(path, REMEDY):
            images = to_levels(_read(path)).reshape(NUM, 1, HEIGHT, WIDTH)
        chosen = np.random.RandomState(SPLIT_SEED).permutation(NUM)[SPLITS[split]]
        return ImageDataset(torch.from_numpy(images[chosen]), names=[f"{i:04d}" for i in chosen])


def _read(path: Path) -> np.ndarray:
    """Return 1,965 x 560 values, row by row of each face."""
    match path.suffix.lower():
        case ".npz":
            return read_array(path, "images", (NUM, HEIGHT, WIDTH))
        case ".mat":
            return read_mat(path, {"ff": (HEIGHT * WIDTH, NUM)})[0].T
        case ".pkl" | ".pickle":
            with path.open("rb") as file:
                content = file.read(MAX_BYTES + 1)
            if len(content) > MAX_BYTES:
                raise DataError(f"is larger than {MAX_BYTES // 2**20} MiB")
            return unpickled_array(content, (NUM, HEIGHT * WIDTH))
    raise DataError("is not an .npz, .mat or .pkl file")
