"""Docstrings of the API reference: an example that the suite runs, formulas of mathematics, shapes of tensors."""

import ast
import doctest
import inspect
import pkgutil
import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
from lightning import LightningDataModule
from torch import nn
from torch.utils.data import Dataset

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
    assert {name.rpartition(".")[0] for name in PUBLIC} == set(parts())


@EACH
def test_an_example_shows_an_output(name: str) -> None:
    examples = doctest.DocTestParser().get_examples(PUBLIC[name].__doc__)
    assert any(example.want for example in examples)
    assert not any(example.options for example in examples), "an example that is skipped or compared loosely"


RECORDS = ("transforms.InverseReport", "transforms.LogDetReport", "functional.InverseReport", "functional.Solution")
SIZES = ("nets.AttentionSizes", "nets.DenseSizes", "functional.num_map_parameters", "functional.initial_params")
CHECKS = ("functional.Graph", "functional.check_nodes", "functional.check_adjacency", "functional.stream_per_image")
NO_FORMULA = {*RECORDS, *SIZES, *CHECKS, "nets.bind"}
"""Names without a formula: results of an iteration or an estimate, sizes of nets, structures and their checks."""
NO_MATHEMATICS = (
    "advanced", "nested", "nested_tensors", "philox", "precision", "ranks", "recompute", "recorded", "shapes", "solver",
    "streams",
)  # fmt: skip
"""Modules of ``functional`` about state, containers, random bits, precision, ranks and memory."""
MATHEMATICS = (
    "flows", "transforms", "distributions", "dequantization", "posteriors", "vae", "nets", "functional",
)  # fmt: skip


def prose(name: str) -> str:
    """A docstring up to its example."""
    return PUBLIC[name].__doc__.partition(">>>")[0]


def is_mathematics(name: str) -> bool:
    module = getattr(PUBLIC[name], "__module__", "").rpartition(".")[2]
    return name.partition(".")[0] in MATHEMATICS and name not in NO_FORMULA and module not in NO_MATHEMATICS


@pytest.mark.parametrize("name", filter(is_mathematics, PUBLIC))
def test_a_formula_is_stated(name: str) -> None:
    assert re.search(r"\.\. math::|:math:", prose(name))


def test_exceptions_are_needed() -> None:
    assert set(PUBLIC) >= NO_FORMULA
    assert not [name for name in NO_FORMULA if re.search(r"\.\. math::|:math:", prose(name))]


def has_tensors(name: str) -> bool:
    """Whether it is a module, yields batches, or names tensors in its signature or its fields."""
    each = PUBLIC[name]
    if inspect.isclass(each) and issubclass(each, (nn.Module, Dataset, LightningDataModule)):
        return True
    function = inspect.unwrap(each)
    if name == "functional.full_precision":  # a tensor on a device, of any shape
        return False
    return "Tensor" in str(getattr(function, "__annotations__", {}).values())


@pytest.mark.parametrize("name", filter(has_tensors, PUBLIC))
def test_shapes_are_stated(name: str) -> None:
    """In the docstring itself, or it says which other name has the same ones."""
    assert re.search(r"Shapes?[:,]|[Ss]hapes?\b.* (see|as) |``[^`]*\(([A-Z]|num|\.\.\.|\d|\))|float32 \(B", prose(name))
