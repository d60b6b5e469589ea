"""Your own images, in a folder or an archive."""

from collections.abc import Sequence
from functools import cached_property
from hashlib import blake2b
from typing import Any

from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from lightning_flows.data.datasets.image_files import ImageFiles, image_shape, summary
from lightning_flows.data.datasets.images import ImageDataset
from lightning_flows.data.images import ImageDataModule
from lightning_flows.errors import DataError, check_fractions

SPLITS = ("train", "val", "test")


class ImageFolderDataModule(ImageDataModule):
    """Images of any size, in one folder or by class; their center is cropped and resized.

    Subfolders ``train/ val/ test/`` define the splits. With train and test but no val, about half of test is used
    for validation and the rest for testing, so that all training images are used for training. Without such subfolders,
    fractions of the images are used. ``predict`` scores the test folder if there is one, otherwise all images.

    The split of an image depends only on its file's content and the seed: u, a hash of both, is uniform in [0, 1). The
    image is in test if u < test_fraction, and in val if u ≥ 1 - val_fraction. Therefore adding, removing or renaming
    other images does not affect it, copies of a file share a split, and split sizes only match the fractions on
    average.

    Args:
        root: folder, .tar (.tar.gz) or .zip of images; for layouts see docs/own-images.md.
        size: height and width in pixels, or a list of both.
        channels: 3 for RGB, 1 for grayscale.
        val_fraction: fraction of the images for validation, if there are no subfolders.
        test_fraction: fraction of the images for testing, if there are no subfolders.
        skip_broken: skip files that are not readable images, with a warning, instead of raising an error.
        kwargs: arguments of :class:`ImageDataModule`.

    Shapes: images uint8 ``(B, channels, *size)``.
    Raises: UsageError for an invalid size or number of channels, or fractions outside [0, 1].

    >>> from tempfile import TemporaryDirectory
    >>> from PIL import Image
    >>> with TemporaryDirectory() as folder:
    ...     for number in range(100):
    ...         Image.new("RGB", (64, 48), (number, 0, 0)).save(f"{folder}/{number}.png")
    ...     data = ImageFolderDataModule(folder, size=16)
    ...     data.setup("fit")
    >>> data.event_shape, data.dataset("train")[0]["image"].shape
    ((3, 16, 16), torch.Size([3, 16, 16]))
    """

    predict_split = "predict"

    def __init__(
        self,
        root: str = "data",
        *,
        size: int | tuple[int, int] = 32,
        channels: int = 3,
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        skip_broken: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._shape = image_shape(size, channels)
        check_fractions(val_fraction, test_fraction)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self._shape

    def split_arguments(self) -> tuple[str, ...]:
        if "" in self._files.splits:
            return "seed", "val_fraction", "test_fraction"
        return ("seed",) if self._hashed else ()

    def load_split(self, split: str) -> ImageDataset:
        return self.load_splits([split])[split]

    def load_splits(self, splits: Sequence[str]) -> dict[str, ImageDataset]:
        """Read several splits at once; before training, the test images are also checked, but not kept.

        Raises: DataError for a missing, empty or broken root, broken images, an empty split, or more images than fit in
        memory.
        """
        files, names = self._files, {split: self.names(split) for split in splits}
        trains = {"train", "val"} <= set(splits)
        check = self.names("test") if trains else []
        empty = next((split for split in splits if not names[split]), None)
        if empty:  # report broken files first
            check = [name for found in files.splits.values() for name in found][:1000]
        wanted = [] if empty else [name for split in splits for name in names[split]]
        dataset, infos = files.read(wanted, size=self._shape[1:], channels=self._shape[0], check=check)
        if files.broken:
            rank_zero_warn(f"skipped: {files.describe_broken()}")
        if empty:
            raise self._no_images(empty)
        datasets, start = {}, 0
        for split in splits:
            chosen = slice(start, start + sum(name not in files.broken for name in names[split]))
            datasets[split] = ImageDataset(dataset.images[chosen], dataset.labels[chosen], names=dataset.names[chosen])
            rank_zero_info(f"{split}: {files.root}: {summary(infos[chosen], self._shape[1:])}")
            start = chosen.stop
        if files.left_out:
            rank_zero_info(f"{files.root}: {files.left_out}")
        if trains:
            self._report_copies(names | {"test": check})
        return datasets

    def names(self, split: str) -> list[str]:
        """Return the sorted names of the images in train, val, test or predict, including broken ones if readable."""
        folders = self._files.splits
        if split == "predict":
            return folders.get("test") or [name for names in folders.values() for name in names]
        if split not in self._hashed:
            return folders.get(split, [])
        digests = self._files.digests(self._undivided)
        return [n for n, digest in digests.items() if _split(digest, self.hparams["seed"], self._hashed) == split]

    def digests(self, split: str) -> list[bytes]:
        found = self._files.digests(self.names(split))  # cached when they were read
        return [digest for name, digest in found.items() if name not in self._files.broken]

    @property
    def fingerprint(self) -> str:
        return self._files.fingerprint

    @property
    def predicts_training_items(self) -> bool:
        return not self._files.splits.get("test") and bool(self.names("train"))

    @cached_property
    def _files(self) -> ImageFiles:
        return ImageFiles(self.hparams["root"], skip_broken=self.hparams["skip_broken"])

    @property
    def _hashed(self) -> dict[str, float]:
        """The splits determined by hashes, and their fractions; empty if folders define all splits."""
        folders = self._files.splits
        if "" in folders:
            val, test = self.hparams["val_fraction"], self.hparams["test_fraction"]
            return {"train": 1 - val - test, "val": val, "test": test}
        return {"val": 0.5, "test": 0.5} if "train" in folders and "test" in folders and "val" not in folders else {}

    @property
    def _undivided(self) -> list[str]:
        return self._files.splits["" if "" in self._files.splits else "test"]

    def _no_images(self, split: str) -> DataError:
        folders = self._files.splits
        found = ", ".join(f"{len(names)} in {key}/" if key else f"{len(names)}" for key, names in folders.items())
        advice = f"add a {split}/ folder, or more images"
        advice += ", or change --data.val_fraction and --data.test_fraction" if "" in folders else ""
        wanted = {key for key, fraction in self._hashed.items() if fraction > 1e-9}
        if split in wanted:  # empty only by chance
            digests = set(self._files.digests(self._undivided).values())
            seeds = (s for s in range(100) if wanted == {_split(digest, s, self._hashed) for digest in digests})
            if (seed := next(seeds, None)) is not None:
                advice += f", or use --data.seed={seed}, for which no split is empty"
        return DataError(f"{self.hparams['root']} has no images for {split} (images found: {found}): {advice}")

    def _report_copies(self, names: dict[str, list[str]]) -> None:
        """Warn about files that are in two splits, which only folders that define splits allow."""
        digests = {split: self._files.digests(found) for split, found in names.items()}
        for split, other in (("val", "train"), ("test", "train"), ("test", "val")):
            known = {digest: name for name, digest in digests[other].items()}
            copies = [(name, known[digest]) for name, digest in digests[split].items() if digest in known]
            if copies:
                effect = "may be too low, because val chooses the checkpoint" if other == "val" else "will be too low"
                rank_zero_warn(
                    f"{len(copies)} of {len(names[split])} {split} images are also in {other}, such as {copies[0][0]} "
                    f"as {copies[0][1]}: {split}/bpd {effect}; remove one copy of each"
                )


def _split(digest: bytes, seed: int, fractions: dict[str, float]) -> str:
    """Return the split of a file given the digest of its content."""
    hashed = blake2b(digest, key=str(seed).encode(), digest_size=8).digest()
    u = (int.from_bytes(hashed) >> 11) / 2**53  # in [0, 1)
    if u < fractions["test"]:
        return "test"
    return "val" if u >= 1 - fractions["val"] else "train"
