"""One's own images, in a folder or a tar archive."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from hashlib import blake2b
from typing import Any

from lightning.pytorch.utilities import rank_zero_info

from lightning_flows.data.datasets import ImageDataset, ImageFiles
from lightning_flows.data.datasets.image_files import check_format
from lightning_flows.data.images import ImageDataModule
from lightning_flows.errors import DataError

SPLITS = ("train", "val", "test")


class ImageFolderDataModule(ImageDataModule):
    """Images of any size, flat or by class, cropped to the central square and resized.

    Subfolders ``train/ val/ test/`` define the splits. With train and test but no val, half of test is used for
    validation and the other half for testing, so that all training images are used for training. Without such
    subfolders, fractions of the images are. ``predict`` scores the test folder if there is one, otherwise all images.

    The split of an image depends only on its file's content and the seed: u, a hash of both, is uniform in [0, 1). The
    image is in test if u < test_fraction, and in val if u ≥ 1 - val_fraction. So adding, removing or renaming other
    images does not affect it, copies of a file share a split, and the sizes of the splits vary about the fractions.

    Args:
        root: folder or .tar (.tar.gz) of images; for layouts see docs/own-images.md.
        size: height and width in pixels, to which the central square is resized.
        channels: 3 for RGB, 1 for grayscale.
        val_fraction: fraction of the images for validation, if there are no subfolders.
        test_fraction: fraction of the images for testing, if there are no subfolders.
        kwargs: arguments of :class:`ImageDataModule`.

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
        if not (val_fraction >= 0 and test_fraction >= 0 and val_fraction + test_fraction <= 1 + 1e-9):  # False for NaN
            raise DataError(
                f"expected val_fraction and test_fraction of at least 0 and 1 at most together; "
                f"got {val_fraction} and {test_fraction}"
            )

    @property
    def event_shape(self) -> tuple[int, int, int]:
        """(channels, size, size)."""
        return self.hparams["channels"], self.hparams["size"], self.hparams["size"]

    def split_arguments(self) -> tuple[str, ...]:
        """Return the arguments that determine the splits, given the layout.

        Raises: DataError for a missing, empty or broken root.
        """
        parts = self._files.parts
        if "" in parts:
            return "seed", "val_fraction", "test_fraction"
        return ("seed",) if _is_halved(parts) else ()

    def load_part(self, part: str) -> ImageDataset:
        """Read one split, and report what was resized, cropped and left out; see :meth:`load_parts`."""
        return self.load_parts([part])[part]

    def load_parts(self, parts: Sequence[str]) -> dict[str, ImageDataset]:
        """Read several splits at once; before training the test images are checked as well, but not kept.

        Raises: DataError for a missing, empty or broken root, broken images, an empty split, or more images than fit in
        memory.
        """
        names = {part: self._names(part) for part in parts}
        check = self._names("test", may_be_empty=True) if "train" in parts else []
        every = [name for part in parts for name in names[part]]
        size, channels = self.hparams["size"], self.hparams["channels"]
        dataset, report = self._files.read(every, size=size, channels=channels, progress=self._progress, check=check)
        datasets, start = {}, 0
        for part in parts:
            chosen = slice(start, start + len(names[part]))
            datasets[part] = ImageDataset(dataset.images[chosen], dataset.labels[chosen], names=dataset.names[chosen])
            rank_zero_info(f"{part}: {report.among(chosen)}")
            report, start = replace(report, num_left_out=0), chosen.stop  # reported once
        if "train" in parts:
            self._tell_copies(names | {"test": check})
        return datasets

    def split(self, parts: dict[str, list[str]]) -> dict[str, list[str]]:
        """Return the sorted names of each part, from the names in each subfolder (``""``: none)."""
        if "" in parts:
            val, test = self.hparams["val_fraction"], self.hparams["test_fraction"]
            return self._hashed(parts[""], val=val, test=test) | {"predict": _scored(parts)}
        split = {part: parts.get(part, []) for part in SPLITS}
        if _is_halved(parts):
            split |= self._hashed(split["test"], val=0.5, test=0.5) | {"train": split["train"]}
        return split | {"predict": _scored(parts)}

    @cached_property
    def _files(self) -> ImageFiles:
        return ImageFiles(self.hparams["root"])

    @property
    def _progress(self) -> bool:
        return self.trainer is None or self.trainer.is_global_zero

    def _hashed(self, names: Sequence[str], *, val: float, test: float) -> dict[str, list[str]]:
        split: dict[str, list[str]] = {part: [] for part in SPLITS}
        for name, digest in zip(names, self._files.digests(names, progress=self._progress), strict=True):
            split[_split(digest, self.hparams["seed"], val, test)].append(name)
        return split

    def _names(self, part: str, *, may_be_empty: bool = False) -> list[str]:
        parts = self._files.parts
        names = _scored(parts) if part == "predict" else self.split(parts)[part]
        if names or may_be_empty:
            return names
        every = [name for names in parts.values() for name in names]
        self._files.read([], check=every[:1000], progress=self._progress)  # report broken files first
        found = ", ".join(f"{len(names)} in {key}/" if key else f"{len(names)}" for key, names in parts.items())
        advice = f"add a {part}/ folder, or more images"
        if "" in parts or _is_halved(parts):
            advice += ", or change val_fraction and test_fraction" if "" in parts else ""
            advice += self._seed_that_helps(part, parts)
        raise DataError(f"{self.hparams['root']} gives no images to {part} (images found: {found}): {advice}")

    def _seed_that_helps(self, part: str, parts: dict[str, list[str]]) -> str:
        """Suggest one of a hundred seeds for which no split is empty, if this one is empty only by chance."""
        names, fractions = parts.get("", []), {key: self.hparams[f"{key}_fraction"] for key in ("val", "test")}
        if _is_halved(parts):
            names, fractions = parts["test"], {"val": 0.5, "test": 0.5}
        wanted = {part for part, fraction in fractions.items() if fraction > 0}
        wanted |= {"train"} if sum(fractions.values()) < 1 else set()
        digests = set(self._files.digests(names))
        for seed in range(100) if part in wanted else ():
            if wanted == {_split(digest, seed, **fractions) for digest in digests}:
                return f", or take --data.seed={seed}, by which each split has some"
        return ""

    def _tell_copies(self, names: dict[str, list[str]]) -> None:
        """Report files of val and test that are in train as well; if folders define the splits, they stay."""
        training = dict(zip(self._files.digests(names["train"]), names["train"], strict=True))
        for part in ("val", "test"):
            copies = [
                (name, training[digest])
                for name, digest in zip(names[part], self._files.digests(names[part]), strict=True)
                if digest in training
            ]
            if copies:
                rank_zero_info(
                    f"{part}: {len(copies)} of {len(names[part])} images are in train as well, such as {copies[0][0]} "
                    f"as {copies[0][1]}: {part}/bpd looks better than it is; remove one of each"
                )


def _is_halved(parts: dict[str, list[str]]) -> bool:
    """Return whether half of test is used for validation: there are train and test, but no val."""
    return "train" in parts and "test" in parts and "val" not in parts


def _scored(parts: dict[str, list[str]]) -> list[str]:
    """Return the images that ``predict`` scores: the test folder if there is one, otherwise all images."""
    return parts.get("test") or [name for names in parts.values() for name in names]


def _split(digest: bytes, seed: int, val: float, test: float) -> str:
    """Return the split of a file given the digest of its content."""
    hashed = blake2b(digest, key=str(seed).encode(), digest_size=8).digest()
    u = (int.from_bytes(hashed) >> 11) / 2**53  # in [0, 1)
    if u < test:
        return "test"
    return "val" if u >= 1 - val else "train"
