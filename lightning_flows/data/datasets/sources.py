"""Sources of image files: the base class, and folders."""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from lightning_flows.errors import DataError

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")

MAX_FILE_BYTES = 2**29
"""Size limit of image files and of archive headers: 512 MiB."""

EXPECTED = "expected a folder, a .tar or a .zip of images"


class ImageSource(ABC):
    """Sorted names of image files, and access to their content.

    Attributes:
        root: the folder or archive.
        names: relative names of the image files, sorted.
        sizes: their sizes in bytes by name; 0 for a dangling link.
        others: names of skipped entries: other files, links in archives, folders reached again by a link.
        links: the links among ``others``.
        real: resolved paths of the images in a folder; ``file_links`` are the names that are links.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.names: list[str] = []
        self.sizes: dict[str, int] = {}
        self.others: list[str] = []
        self.links: list[str] = []
        self.real: dict[str, str] = {}
        self.file_links: set[str] = set()

    @abstractmethod
    def read(self, names: Iterable[str], broken: dict[str, str]) -> Iterator[tuple[str, bytes]]:
        """Yield (name, content) for ``names``, in the order that reads fastest.

        Files that cannot be read are skipped, and the reasons are stored in ``broken`` by name.
        """


def is_image(path: PurePosixPath) -> bool:
    """Return whether a relative path names an image: a known suffix, not hidden, and inside the root.

    >>> [is_image(PurePosixPath(name)) for name in ("cat/1.JPG", "notes.txt", ".cache/1.jpg", "../1.jpg", "/1.jpg")]
    [True, False, False, False, False]
    """
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    return path.suffix.lower() in SUFFIXES and not hidden and not path.is_absolute()


def printable(name: object) -> str:
    """Return a name on one line, with control characters and undecodable bytes escaped.

    >>> printable("a.png"), printable("a" + chr(10) + "b.png")
    ('a.png', 'a\\\\nb.png')
    """
    text = str(name)
    return text if text.isprintable() else ascii(text)[1:-1]


class FolderSource(ImageSource):
    """The image files of a folder and its subfolders; links are followed, but each folder is listed once."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        folders, linked, seen = [str(root)], list[str](), set[str]()
        here = os.path.join(os.path.realpath(root), "")
        while folders or linked:  # links last, because their targets may be in the folder itself
            folder = folders.pop() if folders else linked.pop(0)
            real = os.path.realpath(folder)
            if real in seen or (seen and here.startswith(os.path.join(real, ""))):  # already listed, or a cycle
                self.others.append(os.path.relpath(folder, root))
                self.links.append(self.others[-1])
                continue
            seen.add(real)
            for entry in self._entries(folder):
                if os.path.isdir(entry.path):
                    (linked if entry.is_symlink() else folders).append(entry.path)
                else:
                    self._add(entry, real)

    def _entries(self, folder: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(folder) as entries:
                return sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            reason = f"cannot be listed ({error.strerror}): change its permissions or root"
            raise DataError(f"{printable(folder)} {reason}") from error

    def _add(self, entry: os.DirEntry[str], folder: str) -> None:
        name = Path(entry.path).relative_to(self.root).as_posix()
        if not is_image(PurePosixPath(name)):
            self.others.append(name)
            return
        self.names.append(name)
        try:
            self.sizes[name] = entry.stat().st_size
        except OSError:  # reported when it is read
            self.sizes[name] = 0
        self.real[name] = os.path.join(folder, entry.name)
        if entry.is_symlink():
            self.real[name] = os.path.realpath(entry.path)
            self.file_links.add(name)

    def read(self, names: Iterable[str], broken: dict[str, str]) -> Iterator[tuple[str, bytes]]:
        for name in names:
            path = self.root / name
            try:
                if not path.is_file():
                    broken[name] = "is not a regular file, or is a dangling link"
                elif reason := too_large(path.stat().st_size):
                    broken[name] = reason
                else:
                    yield name, path.read_bytes()
            except OSError as error:
                broken[name] = f"cannot be read ({error.strerror})"


def too_large(num_bytes: int) -> str | None:
    """Return why a file of this size is refused; None if it is not."""
    if num_bytes <= MAX_FILE_BYTES:
        return None
    return f"has {num_bytes:,} bytes, more than the limit of {MAX_FILE_BYTES:,}"
