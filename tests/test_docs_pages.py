"""Pages that say what the code does: commands, transforms, a worked example, numbers, and the diagram of imports."""

import inspect
import itertools
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from lightning_flows import transforms
from lightning_flows.app.cli import PLAIN_COMMANDS, FlowCLI
from lightning_flows.functional import Graph
from lightning_flows.transforms import Transform
from tests.markdown import ROOT, Page
from tests.test_architecture import PACKAGE, imported
from tests.transforms import test_contract
from tests.transforms.cases import Case

COMMANDS, TRANSFORMS, EXAMPLE, COMPARED, ARCHITECTURE = (
    Page(ROOT / "docs" / f"{name}.md")
    for name in ("commands", "transforms", "add-a-transform", "compared-with-the-paper", "architecture")
)


@pytest.mark.parametrize("name", [*FlowCLI.subcommands(), *PLAIN_COMMANDS])
def test_every_subcommand_has_its_section(name: str) -> None:
    section = COMMANDS.sections[name]
    assert f"python -m lightning_flows {name}" in section
    assert "**Writes**" in section
    assert "**Refuses**" in section
    assert f"[`{name}`](#{name})" in COMMANDS.text


EXPORTED = [
    name
    for name in transforms.__all__
    if isinstance(kind := getattr(transforms, name), type)
    and issubclass(kind, Transform)
    and not inspect.isabstract(kind)
]


@pytest.mark.parametrize("name", EXPORTED)
def test_every_transform_has_its_entry(name: str) -> None:
    section = TRANSFORMS.sections[name]
    assert section.count("$$") == 2, "expected one formula"
    assert re.findall(r"^- \*\*(.+?)\*\*: \S", section, re.M) == ["Log-determinant", "Cost", "Limits", "Paper"]
    assert f"| [`{name}`](#{name.lower()}) |" in TRANSFORMS.text


def test_no_entry_is_of_a_transform_that_is_gone() -> None:
    rows = re.findall(r"^\| \[`(\w+)`\]", TRANSFORMS.text, re.M)
    assert sorted(rows) == sorted(EXPORTED)


SIZES = {"C": 4, "P": 6, "k": 3, "T": 9, "r": 3, "m": 7, "N": 5, "F": 2}
SHAPE = (4, 3, 2)
COUNTED: dict[str, Callable[[], Transform]] = {
    "ConvExponential": lambda: transforms.ConvExponential(SHAPE),
    "Conv1x1": lambda: transforms.Conv1x1(4),
    "Householder": lambda: transforms.Householder(4, num_reflections=3),
    "AutoregressiveConv": lambda: transforms.AutoregressiveConv(4),
    "Woodbury": lambda: transforms.Woodbury(SHAPE, rank=3),
    "ConvSylvester": lambda: transforms.ConvSylvester(SHAPE, 7),
    "ActNorm": lambda: transforms.ActNorm(4),
    "Affine": lambda: transforms.Affine(0.5, 2.0),
    "Bias": lambda: transforms.Bias(SHAPE),
    "Sigmoid": transforms.Sigmoid,
    "Squeeze": transforms.Squeeze,
    "Flip": transforms.Flip,
    "Reshape": lambda: transforms.Reshape(SHAPE, (24,)),
    "GraphExponential": lambda: transforms.GraphExponential(2, max_neighbors=4),
    "GraphActNorm": lambda: transforms.GraphActNorm(2),
}
"""How to build the transforms whose cost the table gives as a formula, at the sizes above."""


IN_PLACE = {torch.ops.aten.addmm_: lambda out, one, other, **_: 2 * out[0] * one[1] * out[1]}
"""What torch's counter leaves out: operations from shapes."""


@torch.no_grad()
def multiplications(function: Callable[..., Any], shape: tuple[int, ...], *context: Any) -> float:
    """In products and convolutions, for one more sample: what is done once a batch falls out."""
    counts = []
    for batch in (1, 3):
        with FlopCounterMode(display=False, custom_mapping=IN_PLACE) as counter:
            function(torch.rand(batch, *shape), *context)
        counts.append(counter.get_total_flops())
    return (counts[1] - counts[0]) / 4  # two samples, and two operations for each multiplication


FORMULAS = [
    (name, direction, formula[1:-1])
    for name, *cells in re.findall(r"^\| \[`(\w+)`\].*?\| .*? \| (.*?) \| (.*?) \|", TRANSFORMS.text, re.M)
    for direction, formula in zip(("forward", "inverse"), cells, strict=True)
    if formula.startswith("`")
]


def test_formulas_are_counted() -> None:
    assert {name for name, _, _ in FORMULAS} == set(COUNTED)


@pytest.mark.parametrize(
    ("name", "direction", "formula"), FORMULAS, ids=[f"{name} {direction}" for name, direction, _ in FORMULAS]
)
def test_multiplications_are_as_many_as_the_table_says(name: str, direction: str, formula: str) -> None:
    transform = COUNTED[name]().eval()
    shape = (SIZES["N"], SIZES["F"]) if name.startswith("Graph") else (4, 2, 2) if name == "Squeeze" else SHAPE
    if name == "Reshape" and direction == "inverse":
        shape = (24,)
    assert multiplications(getattr(transform, direction), shape) == eval(formula, dict(SIZES))


def test_multiplications_of_the_graph_series() -> None:
    (formula,) = re.findall(r"`(T\*\(.*?)`", TRANSFORMS.sections["GraphExponential"])
    transform = transforms.GraphExponential(2, max_neighbors=4)
    adjacency = 1 - torch.eye(5)
    once, sizes = eval(formula, SIZES | {"T": 1}), multiplications(transform.forward, (5, 2), Graph(adjacency))
    assert sizes % once == 0
    assert 8 < sizes / once < 13  # terms for a norm of up to 1.25


@pytest.mark.parametrize(("dtype", "terms"), [(torch.float32, 9), (torch.float64, 17)])
def test_number_of_terms_is_as_the_page_says(dtype: torch.dtype, terms: int) -> None:
    text = " ".join(TRANSFORMS.sections["ConvExponential"].split())
    assert "9 in float32 and 17 in float64 at the default of 0.95" in text
    layer = transforms.ConvExponential((1, 3, 3)).to(dtype).eval()
    with FlopCounterMode(display=False) as counter:
        layer._exponential(layer.kernel(), torch.rand(1, 1, 3, 3, dtype=dtype))
    assert counter.get_total_flops() / (2 * 81) - 1 == terms  # one more is the power iteration's


@pytest.fixture(scope="module")
def example() -> dict[str, Any]:
    """What each file of the worked example defines, by its name."""
    return run_example(FILES)


NAMES = ("pixel_scale.py", "rotation.py", "tests/transforms/cases.py", "test_rotation.py", "spread.py")
FILES = dict(zip(NAMES, [block.code for block in EXAMPLE.blocks if block.language == "python"], strict=True))


def run_example(files: dict[str, str]) -> dict[str, Any]:
    """Run each file alone, with nothing but its own imports; transforms are exported once they are defined."""
    found: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        for name, code in files.items():
            found[name] = {"__name__": name}
            exec(compile(code, name, "exec"), found[name])
            for key, value in list(found[name].items()):
                if isinstance(value, type) and value.__module__ == name:
                    patch.setattr(transforms, key, value, raising=False)
                elif key.startswith("test_"):
                    value()
    return found


def test_each_file_of_the_example_is_named_before_its_code() -> None:
    before = EXAMPLE.text.split("```python\n")[:-1]
    for name, text in zip(FILES, before, strict=True):
        assert f"`{name}`" in text.rpartition("```")[2], name


OPTIONS = {"direction": ["forward", "inverse"], "dtype": [torch.float32, torch.float64], "mode": [True, False]}
CONTRACT = {
    name: function
    for name, function in inspect.getmembers(test_contract, inspect.isfunction)
    if name.startswith("test_") and "case" in inspect.signature(function).parameters
}


def check_contract(name: str, case: Case) -> None:
    """A property test, in all of its variants."""
    others = [key for key in inspect.signature(CONTRACT[name]).parameters if key != "case"]
    for values in itertools.product(*(OPTIONS[key] for key in others)):
        CONTRACT[name](case, **dict(zip(others, values, strict=True)))


def test_the_contract_is_found() -> None:
    assert {"test_round_trip", "test_log_det_is_that_of_the_jacobian", "test_gradient_of_each_parameter"} <= set(
        CONTRACT
    )


@pytest.mark.parametrize("row", ["pixel_scale", "rotation", "sylvester_rotation"])
@pytest.mark.parametrize("name", CONTRACT)
def test_worked_example_keeps_the_contract(example: dict[str, Any], name: str, row: str) -> None:
    check_contract(name, example["tests/transforms/cases.py"]["rows"][row])


def test_the_example_s_rows_are_those_tested(example: dict[str, Any]) -> None:
    assert set(example["tests/transforms/cases.py"]["rows"]) == {"pixel_scale", "rotation", "sylvester_rotation"}


def test_the_mistake_that_the_example_tells_of_is_found() -> None:
    assert "leave out the `event_shape[0] *`" in EXAMPLE.text
    wrong = {name: code.replace("self.event_shape[0] * ", "") for name, code in FILES.items() if name != "spread.py"}
    assert wrong["pixel_scale.py"] != FILES["pixel_scale.py"]
    case = run_example(wrong)["tests/transforms/cases.py"]["rows"]["pixel_scale"]
    check_contract("test_round_trip", case)
    with pytest.raises(AssertionError):
        check_contract("test_log_det_is_that_of_the_jacobian", case)


def test_numbers_of_the_comparison_are_those_of_other_pages() -> None:
    others = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("*.md") if page != COMPARED.path)
    for number in re.findall(r"(?<![\w.])\d+(?:\.\d+)?(?![\w.]*\w)", COMPARED.prose):
        assert len(number) < 3 or number in others or number == "2020", number


EDGES = {(above, below) for above, below in re.findall(r"^ +(\w+) --> (\w+)$", ARCHITECTURE.text, re.M)}
SAME_NODE = {"parser": "trainer"}
LAZY = {("commands", "cli")}  # the demo runs subcommands, from within a function


def test_the_diagram_shows_every_folder() -> None:
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and list(path.glob("*.py"))}
    assert {node for edge in EDGES for node in edge} == folders | {"cli", "trainer"}
    labeled = set(re.findall(r'^ +(\w+)\["', ARCHITECTURE.text, re.M))
    assert labeled == folders | {"cli", "trainer"}


def test_the_diagram_s_arrows_are_the_imports() -> None:
    nodes = {node for edge in EDGES for node in edge}
    imports = set()
    for file in PACKAGE.rglob("*.py"):
        above = file.relative_to(PACKAGE).with_suffix("").parts[0]
        for name in imported(file):
            below = name.split(".")[1] if name.startswith("lightning_flows.") else ""
            imports.add((SAME_NODE.get(above, above), SAME_NODE.get(below, below)))
    imports = {(above, below) for above, below in imports if above != below and {above, below} <= nodes} - LAZY
    reachable = set(EDGES)
    while more := {(a, d) for a, b in reachable for c, d in EDGES if b == c} - reachable:
        reachable |= more
    assert imports <= reachable
    assert imports >= EDGES
    assert not any(above == below for above, below in reachable)
