"""Print constraints that pin each requirement of pyproject.toml to its lower bound: `make test-lowest`."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
REQUIREMENT = re.compile(r"([\w-]+)(?:\[[\w,]+\])?>=([\d.]+)")


def lowest(extras: tuple[str, ...] = ("completion",)) -> list[str]:
    """Requirements such as ``torch==2.6.0``."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    requirements = [
        *project["dependencies"],
        *(each for name in extras for each in project["optional-dependencies"][name]),
    ]
    found = [REQUIREMENT.match(each) for each in requirements]
    assert all(found), "expected a lower bound for each requirement"
    return [f"{match[1]}=={match[2]}" for match in found if match]


if __name__ == "__main__":
    print("\n".join(lowest()))
