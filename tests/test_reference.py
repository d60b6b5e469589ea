"""Docstrings of the API reference: each public class and function has an example that the suite runs."""

import ast
import doctest
import inspect
import pkgutil
import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
from torch import nn

from lightning_flows.transforms import Transform
from tests.markdown import ROOT


def parts() -> list[str]:
    """Folders of the package that the site documents, read from its hook, which needs packages of the extra `docs`."""
    tree = ast.parse((ROOT / "website/api.py").read_text(encoding="utf-8"))
    (found,) = (node.value for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id == "PARTS")
    return list(ast.literal_eval(found))


def public() -> Iterator[tuple[str, Any]]:
    """All classes and functions of the API reference: those in ``__all__``, or those of a folder without it."""
    for part in parts():
        package = import_module(f"lightning_flows.{part}")
        if names := getattr(package, "__all__", None):
            found = {name: getattr(package, name) for name in names}
        else:
            found = {}
            for info in pkgutil.iter_modules(package.__path__):
                module = import_module(f"{package.__name__}.{info.name}")
                own = {name: each for name, each in vars(module).items() if not name.startswith("_")}
                found |= {name: own[name] for name in own if getattr(own[name], "__module__", "") == module.__name__}
        for name, each in found.items():
            if inspect.isclass(each) or inspect.isfunction(each):
                yield f"{part}.{name}", each


PUBLIC = dict(public())
EACH = pytest.mark.parametrize("name", PUBLIC)


def test_all_parts_have_names() -> None:
    assert {name.partition(".")[0] for name in PUBLIC} == set(parts())


@EACH
def test_an_example_shows_an_output(name: str) -> None:
    examples = doctest.DocTestParser().get_examples(PUBLIC[name].__doc__)
    assert any(example.want for example in examples)
    assert not any(example.options for example in examples), "an example that is skipped or compared loosely"


def classes(base: type) -> list[str]:
    return [name for name, each in PUBLIC.items() if inspect.isclass(each) and issubclass(each, base)]


def prose(name: str) -> str:
    """A docstring up to its example."""
    return PUBLIC[name].__doc__.partition(">>>")[0]


@pytest.mark.parametrize("name", classes(nn.Module))
def test_shapes_are_stated(name: str) -> None:
    """In the docstring itself, or it says which other class has the same ones."""
    assert re.search(r"Shapes?:|[Ss]hapes.* (see|as) |``\(B,", prose(name))


@pytest.mark.parametrize("name", [name for name in classes(Transform) if not inspect.isabstract(PUBLIC[name])])
def test_a_formula_is_stated(name: str) -> None:
    assert re.search(r"\.\. math::|:math:|z = |log-determinant 0", prose(name))
