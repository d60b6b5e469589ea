"""Doctests of this folder require the packages of the extra `docs`."""

from importlib.util import find_spec

REQUIRED = "mkdocs", "mkdocstrings", "latex2mathml", "griffe"
collect_ignore_glob = [] if all(map(find_spec, REQUIRED)) else ["*.py"]
