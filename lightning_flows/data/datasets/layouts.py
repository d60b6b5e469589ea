"""Splits and classes from the folders of a dataset: recognized or refused, never guessed."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from lightning_flows.data.datasets.sources import printable
from lightning_flows.errors import DataError

SYNONYMS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}
"""Folder names of each split; case does not matter."""

_SPLITS = {synonym: split for split, synonyms in SYNONYMS.items() for synonym in synonyms}
_OTHER_WORDS = {"trn": "train", "dev": "val", "eval": "val", "evaluation": "val", "holdout": "test", "tst": "test"}
_WORDS = _SPLITS | _OTHER_WORDS | {"tests": "test"}
_FILLERS = "a b c d x y all the new raw original small resized cropped sample folder file part split set data dataset"
_FILLERS += " image img photo image png jpg jpeg"
_FILLER = f"(?:{_FILLERS.replace(' ', '|')})s?"
_ADVICE = "expected train/, val/ and test/ (see docs/own-images.md): rename or move it"


@dataclass(frozen=True)
class Layout:
    """Names by split (``""`` if there are none), class of each name, and number of images outside, by folder."""

    splits: dict[str, list[str]]
    class_of: dict[str, str]
    outside: Counter[str] = field(default_factory=Counter)


def split_of(folder: str) -> str | None:
    """Return the split that a folder's name denotes; None for any other name.

    >>> split_of("Training"), split_of("valid"), split_of("cats")
    ('train', 'val', None)
    """
    return _SPLITS.get(folder.strip().lower())


def resembled_split(folder: str) -> str | None:
    """Return the split that a folder's name resembles, ignoring filler words; None for any other name.

    >>> [resembled_split(name) for name in ("train2017", "testB", "ValSet", "test images", "dev", "test tubes", "cats")]
    ['train', 'test', 'val', 'test', 'val', None, None]
    """
    words = _words(folder)
    splits = [_WORDS[word] for word in words if word in _WORDS]
    return splits[0] if splits and all(word in _WORDS or re.fullmatch(_FILLER, word) for word in words) else None


def find_layout(paths: dict[str, tuple[str, ...]]) -> Layout:
    """Return the layout of files, given the path components of each name.

    Layouts: ``*.png``, ``CLASS/*.png``, ``SPLIT/*.png``, ``SPLIT/CLASS/*.png`` or ``CLASS/SPLIT/*.png``, with
    SPLIT from ``SYNONYMS``. Wrapping folders, as archives often have, are skipped.

    Raises: DataError, naming the folder, if it is or resembles a split where none is expected, or may be either a split
    or a class.
    """
    skip = _num_wrappers(list(paths.values()))
    paths = {name: path[skip:] for name, path in paths.items()}
    if all(len(path) > 2 and split_of(path[1]) and not split_of(path[0]) for path in paths.values()):
        paths = {name: (path[1], path[0], *path[2:]) for name, path in paths.items()}  # CLASS/SPLIT
    folders = sorted({path[0] for path in paths.values() if len(path) > 1})
    chosen: dict[str, str] = {}
    for folder in folders:
        if (split := split_of(folder)) and chosen.setdefault(split, folder) != folder:
            raise DataError(f"{_quoted([chosen[split], folder])} are both {split}: merge or rename them")
    _refuse_resemblances(folders, chosen, alone=all(len(path) > 1 for path in paths.values()))
    for path in paths.values():
        _refuse_inside(path[:-1], split_of(path[0]) if len(path) > 1 else None)
    if not chosen:
        return Layout({"": list(paths)}, {name: _class(path) for name, path in paths.items()})
    inside = {name: path for name, path in paths.items() if len(path) > 1 and path[0] in chosen.values()}
    outside = Counter(path[0] + "/" if len(path) > 1 else "" for name, path in paths.items() if name not in inside)
    if len(chosen) == 1 and outside:
        folder = _quoted(chosen.values())
        others = [f"{printable(name) or 'loose images'} ({num})" for name, num in sorted(outside.items())[:10]]
        raise DataError(
            f"{folder} may be a split or a class: it is next to {', '.join(others)}; add the other splits, rename "
            f"{folder} if it is a class, or move it away"
        )
    splits = {
        split: [n for n, path in inside.items() if path[0] == chosen[split]] for split in SYNONYMS if split in chosen
    }
    return Layout(splits, {name: _class(path[1:]) for name, path in inside.items()}, outside)


def _num_wrappers(paths: Sequence[tuple[str, ...]]) -> int:
    """Return how many leading folders only wrap the layout: shared by all paths, not a split, with a folder below.

    >>> _num_wrappers([("pets", "cat", "1.png"), ("pets", "dog", "1.png")])
    1
    >>> _num_wrappers([("train", "cat", "1.png"), ("train", "dog", "1.png")])
    0
    """
    skip, shortest = 0, min(map(len, paths))
    while shortest >= skip + 3 and len({path[skip] for path in paths}) == 1 and split_of(paths[0][skip]) is None:
        skip += 1
    return skip


def _refuse_resemblances(folders: list[str], chosen: dict[str, str], *, alone: bool) -> None:
    """Refuse folders whose names contain a split among other words, unless one such folder contains everything."""
    others = [folder for folder in folders if folder not in chosen.values()]
    mentioned = {folder: {_WORDS[word] for word in _words(folder) if word in _WORDS} for folder in others}
    several = chosen or len(set().union(*mentioned.values())) > 1  # such as seg_train, seg_test; "test tube" is a class
    alike = [folder for folder in others if resembled_split(folder) or (several and mentioned[folder])]
    if alike and not (alone and len(folders) == 1):
        raise DataError(f"{_quoted(alike)} may be a split or a class: {_ADVICE}")


def _refuse_inside(folders: tuple[str, ...], split: str | None) -> None:
    """Refuse a folder below the first level that denotes a different split than the one containing it, if any."""
    for depth, folder in enumerate(folders[1:], start=2):
        if (split_of(folder) or resembled_split(folder)) not in (None, split):
            where = "/".join(folders[:depth])
            raise DataError(f"{_quoted([where])} looks like a split inside {_quoted([folders[0]])}: {_ADVICE}")


def _words(folder: str) -> list[str]:
    """Split a folder's name into lowercase words, including names such as trainSet, trainset and trainB."""
    words = re.findall("[a-z]+", re.sub("(?<=[a-z])(?=[A-Z])", " ", folder).lower())
    compounds = [re.fullmatch(f"({'|'.join(_WORDS)})({_FILLER})", word) for word in words]
    return [
        piece
        for word, compound in zip(words, compounds, strict=True)
        for piece in (compound.groups() if compound and word not in _WORDS else [word])
    ]


def _class(path: tuple[str, ...]) -> str:
    return path[0] if len(path) > 1 else ""


def _quoted(folders: Iterable[str]) -> str:
    return " and ".join(repr(folder) for folder in list(folders)[:10])
