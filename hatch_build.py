"""Metadata of the distributions that depends on the URL of the repository.

Links on a package's page must be absolute, so the URL is set when the distributions are built:
``LIGHTNING_FLOWS_URL=https://host/owner/lightning_flows make dist``. Without it, links become text.
"""

import os
import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

PAPER = "https://arxiv.org/abs/2006.01910"
LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!\w+:|#)([^)\s]+)\)")


class RepositoryLinks(MetadataHookInterface):
    """Set ``readme`` and ``urls`` of the project."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Called by hatchling."""
        url = os.environ.get("LIGHTNING_FLOWS_URL", "").rstrip("/")
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": with_absolute_links(text, url)}
        metadata["urls"] = {"Paper": PAPER}
        if url:
            metadata["urls"] |= {
                "Source": url,
                "Documentation": f"{url}/tree/HEAD/docs",
                "Issues": f"{url}/issues",
                "Changelog": f"{url}/blob/HEAD/CHANGELOG.md",
            }


def with_absolute_links(text: str, url: str) -> str:
    """Make relative links absolute; without a URL, replace them by their text and leave out images.

    >>> with_absolute_links("![Moons](docs/moons.png) [page](docs/a.md)", "https://host/it")
    '![Moons](https://host/it/raw/HEAD/docs/moons.png) [page](https://host/it/blob/HEAD/docs/a.md)'
    >>> with_absolute_links("![Moons](docs/moons.png)[page](docs/a.md)", "")
    'page'
    """

    def link(match: re.Match[str]) -> str:
        image, name, target = match.groups()
        if not url:
            return "" if image else name
        return f"{image}[{name}]({url}/{'raw' if image else 'blob'}/HEAD/{target})"

    return LINK.sub(link, text.replace("REPOSITORY_URL", url or "REPOSITORY_URL"))
