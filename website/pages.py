"""Hook of MkDocs: Markdown pages next to the code become pages of the site, with their relative links adjusted."""

import os
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
BESIDE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "docker/README.md": "containers.md",
}
"""Pages outside of docs/, by their path in the repository, with their path on the site."""
REPOSITORY = {page: path for path, page in BESIDE.items()}
LINK = re.compile(r"(!?\[(?:[^\[\]]|\[[^\]]*\])*\])\((?!\w+:|#)([^)\s#]+)(#[^)\s]*)?\)")


def on_config(config: Any) -> Any:
    """Without the site's address, which its links would need at any depth, there is no page for missing addresses."""
    if not config.site_url:
        config.theme.static_templates -= {"404.html"}
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the pages outside of docs/ and the style sheet; pages that the navigation does not name come last in it."""
    listed = str(config.nav)
    if more := [file.src_uri for file in files.documentation_pages() if f"'{file.src_uri}'" not in listed]:
        config.nav.append({"More": more})
    for path, page in BESIDE.items():
        files.append(File.generated(config, page, content=(ROOT / path).read_text(encoding="utf-8")))
    style = (ROOT / "website/site.css").read_text(encoding="utf-8")
    files.append(File.generated(config, "assets/site.css", content=style))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Rewrite relative links; hide the left column if it names only the page, the right one beside wide tables."""
    path, url = page.file.src_uri, os.environ.get("LIGHTNING_FLOWS_URL", "").rstrip("/")
    if page.parent is None:
        page.meta["hide"] = ["navigation"]
    if '<div class="wide"' in markdown:
        page.meta["hide"] = [*page.meta.get("hide", ()), "toc"]
    if path.startswith("api/"):  # written for the site by website/api.py
        return markdown
    return with_site_links(markdown, REPOSITORY.get(path, f"docs/{path}"), url)


def with_site_links(markdown: str, path: str, url: str) -> str:
    """Return a page's Markdown with the links that it has on the site; files that are not there become text.

    Args:
        markdown: the page.
        path: its path in the repository.
        url: address of the repository, to which links of other files lead; without one they become text.

    >>> with_site_links("[a](docs/vae.md#speed) ![b](docs/images/b.png)", "README.md", "")
    '[a](vae.md#speed) ![b](images/b.png)'
    >>> with_site_links("[c](../docker/README.md), [d](../docker/csf.sbatch)", "docs/cluster.md", "")
    '[c](containers.md), d'
    >>> with_site_links("[e](../vae.md) [f](../../README.md)", "docs/notebooks/graphs.ipynb", "")
    '[e](../vae.md) [f](../index.md)'
    >>> with_site_links("[g](docs/notebooks/graphs.ipynb)", "README.md", "")
    '[g](notebooks/graphs.md)'
    """

    folder = posixpath.dirname(BESIDE.get(path, path.removeprefix("docs/")))

    def link(match: re.Match[str]) -> str:
        text, target, anchor = match[1], match[2], match[3] or ""
        target = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
        if target in BESIDE or target.startswith("docs/"):
            page = BESIDE.get(target, re.sub(r"\.ipynb$", ".md", target.removeprefix("docs/")))
            return f"{text}({posixpath.relpath(page, folder or '.')}{anchor})"
        return f"{text}({url}/blob/HEAD/{target})" if url else text.strip("![]")

    parts = re.split(r"(^```.*?^```$)", markdown, flags=re.M | re.S)
    return "".join(part if part.startswith("```") else LINK.sub(link, part) for part in parts)
