"""Where the configs that come with the package lie."""

from collections.abc import Sequence
from pathlib import Path

PACKAGE = Path(__file__).parent
CONFIG_DIR = PACKAGE / "configs" if (PACKAGE / "configs").is_dir() else PACKAGE.parent / "configs"


def find_configs(args: Sequence[str]) -> list[str]:
    """Replace the value of each ``--config`` that is no file here by the packaged one of that name, if any."""
    found: list[str] = []
    for i, arg in enumerate(args):
        name, equals, value = arg.partition("=")
        if i and args[i - 1] in ("-c", "--config"):
            arg = _find(arg)
        elif equals and name == "--config":
            arg = f"--config={_find(value)}"
        found.append(arg)
    return found


def _find(name: str) -> str:
    packaged = CONFIG_DIR / name
    return str(packaged) if not Path(name).is_file() and packaged.is_file() else name
