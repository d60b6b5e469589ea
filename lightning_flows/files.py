"""Writing files without losing what was there."""

from pathlib import Path

from lightning_flows.errors import OutputError


def check_new_file(path: Path) -> None:
    """Make the folder of a file that is to be written. Raises: OutputError if it cannot be made or the file exists."""
    if path.exists():
        raise OutputError(f"expected a new file; got {path}, which exists and is kept: name another or move it away")
    check_writable(path.parent)


def check_writable(folder: Path) -> None:
    """Make a folder and try to write into it. Raises: OutputError with the reason if that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OutputError(f"expected a folder to write to; got {folder} ({error.strerror}): name another") from error
