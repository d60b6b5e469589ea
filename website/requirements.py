"""Print the requirements of the extra `docs`, without those of the package itself, which the site does not import."""

import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
if __name__ == "__main__":
    print("\n".join(project["optional-dependencies"]["docs"]))
