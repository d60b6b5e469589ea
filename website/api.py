"""Hook of MkDocs: a page for each part of the library, with all its public names."""

from pathlib import Path
from typing import Any

import griffe
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PARTS = {
    "flows": "Flows",
    "transforms": "Transforms",
    "distributions": "Distributions",
    "dequantization": "Dequantization",
    "posteriors": "Posteriors",
    "vae": "Variational autoencoders",
    "nets": "Conditioner networks",
    "modules": "LightningModules",
    "data": "Data modules",
    "data.datasets": "Datasets",
    "callbacks": "Callbacks",
    "checkpoints": "Checkpoints",
    "testing": "Checks for your own flows",
    "functional": "Functions of tensors",
}
"""Folders of the package, with the titles of their pages."""


def pages() -> dict[str, str]:
    """Return the Markdown of each page, by its path: a name of ``__all__`` per section, or a module without one."""
    package = griffe.load("lightning_flows", search_paths=[ROOT], resolve_aliases=False)
    found = {}
    for part, title in PARTS.items():
        if part.partition(".")[0] not in package.members:
            continue
        module = package[part]
        summary = module.docstring.value.splitlines()[0] if module.docstring else ""
        exported = exports(module)
        sections = [f"::: lightning_flows.{part}.{name}" for name in exported or sorted(module.modules)]
        found[f"api/{part}.md"] = "\n\n".join([f"# {title}", f"`lightning_flows.{part}`. {summary}", *sections]) + "\n"
    index = [
        f"- [{title}]({part}.md): `lightning_flows.{part}`"
        for part, title in PARTS.items()
        if f"api/{part}.md" in found
    ]
    text = "`lightning_flows` itself also exports the most common names, and loads them on first use."
    return {"api/index.md": "\n".join(["# API reference", "", text, "", *index]) + "\n"} | found


def exports(module: Any) -> list[str]:
    """Return the names in a module's ``__all__``, also those that it takes from others by ``+= module.__all__``."""
    names: list[str] = []
    for name in module.exports or []:
        if isinstance(name, str):
            names.append(name)
        else:
            names += (
                exports(module[name.name]) if name.name in module.members else exports(module[str(name).split(".")[0]])
            )
    return sorted(set(names))


def on_files(files: Files, config: Any) -> Files:
    """Add the pages and list them in the navigation."""
    for path, text in pages().items():
        files.append(File.generated(config, path, content=text))
    for entry in config.nav:
        if "API" in entry:
            entry["API"] = list(pages())
    return files
