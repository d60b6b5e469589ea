"""Hook of MkDocs: each notebook in docs/notebooks/ becomes a page with its stored outputs; nothing is executed."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

FOLDER = Path(__file__).parents[1] / "docs/notebooks"


def on_files(files: Files, config: Any) -> Files:
    """Add a page and its images for each notebook, which itself can be downloaded."""
    for path in sorted(FOLDER.glob("*.ipynb")):
        text, images = page(json.loads(path.read_text(encoding="utf-8")), path.stem)
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=text))
        for name, content in images.items():
            files.append(File.generated(config, f"notebooks/{name}", content=content))
    return files


def page(notebook: dict[str, Any], stem: str) -> tuple[str, dict[str, bytes]]:
    r"""Return a notebook as Markdown, and its images by the names that it links to.

    Code cells may describe their image in the entry ``alt`` of their metadata.

    >>> output = {"output_type": "stream", "name": "stdout", "text": ["3\n"]}
    >>> code = {"cell_type": "code", "metadata": {}, "source": ["print(3)"], "outputs": [output]}
    >>> print(page({"cells": [{"cell_type": "markdown", "source": ["# Three"]}, code]}, "three")[0])
    # Three
    <BLANKLINE>
    <a href="three.ipynb" download>Download this notebook</a>
    <BLANKLINE>
    ```python
    print(3)
    ```
    <BLANKLINE>
    ```text
    3
    ```
    <BLANKLINE>
    """
    images: dict[str, bytes] = {}
    blocks: list[str] = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            blocks.append(source)
        else:
            blocks.append(f"```python\n{source}\n```")
            blocks += _outputs(cell, stem, images)
        if len(blocks) == 1:
            blocks.append(f'<a href="{stem}.ipynb" download>Download this notebook</a>')
    return "\n\n".join(blocks) + "\n", images


def _outputs(cell: dict[str, Any], stem: str, images: dict[str, bytes]) -> Iterator[str]:
    """Markdown of each output; images are added to those of the page."""
    for output in cell["outputs"]:
        data = output.get("data", {})
        if "image/png" in data:
            name = f"{stem}_{len(images) + 1}.png"
            images[name] = base64.b64decode(data["image/png"])
            yield f"![{cell['metadata'].get('alt', 'Output')}]({name})"
        else:
            text = "".join(output["text"] if "text" in output else data["text/plain"]).rstrip("\n")
            yield f"```text\n{text}\n```"
