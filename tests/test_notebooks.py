"""Notebooks run without errors, and their stored outputs are those of one run in order, on no machine in particular."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.markdown import LINK, PAGES, ROOT, Page
from website.execute import Notebook, executed, read, shown, write

NOTEBOOKS = sorted((ROOT / "docs/notebooks").glob("*.ipynb"))
EACH = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
OF_A_MACHINE = re.compile(r"(?<![\w.])(/(home|Users|root|tmp|var|private|mnt|opt|work)\b|[A-Z]:\\)|\b0x[0-9a-f]{6,}")
"""Absolute paths, and addresses in memory."""


def code(notebook: Notebook) -> list[dict[str, Any]]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def prose(notebook: Notebook) -> str:
    return "\n".join("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "markdown")


def kinds(notebook: Notebook) -> list[list[str]]:
    """The kinds of the outputs of each cell."""
    return [
        [f"{each['output_type']} {sorted(each.get('data', {}))}" for each in cell["outputs"]] for cell in code(notebook)
    ]


def is_picture(output: dict[str, Any]) -> bool:
    return "image/png" in output.get("data", {})


def test_three_notebooks_are_linked_from_the_readme() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["graphs", "images", "own-flow"]
    assert {f"docs/notebooks/{path.name}" for path in NOTEBOOKS} <= set(PAGES[0].links)


@pytest.mark.slow
@EACH
def test_cells_run_and_give_outputs_of_the_stored_kinds(path: Path) -> None:
    assert kinds(executed(read(path))) == kinds(read(path))


@EACH
def test_stored_outputs_are_of_one_run_in_order(path: Path) -> None:
    cells = code(read(path))
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert all(each["output_type"] != "error" for cell in cells for each in cell["outputs"])


@EACH
def test_text_does_not_depend_on_a_machine(path: Path) -> None:
    for cell in code(read(path)):
        texts = [each.get("text") or each["data"]["text/plain"] for each in cell["outputs"]]
        for text in ["".join(cell["source"]), *map("".join, texts)]:
            assert not OF_A_MACHINE.search(text), text


@EACH
def test_each_part_ends_with_a_picture_and_pictures_are_described(path: Path) -> None:
    last: dict[str, Any] | None = None
    for cell in [*read(path)["cells"], {"cell_type": "markdown", "source": ["## The end"]}]:
        if cell["cell_type"] == "code":
            last = cell
            if any(map(is_picture, cell["outputs"])):
                assert len(cell["metadata"]["alt"]) > 20
        elif cell["source"][0].startswith("## ") and last is not None and last["execution_count"] > 1:
            assert any(map(is_picture, last["outputs"])), cell["source"][0]


@EACH
def test_a_notebook_is_small_and_its_links_work(path: Path) -> None:
    assert path.stat().st_size < 400_000
    for link in LINK.findall(prose(read(path))):
        name, _, anchor = link.partition("#")
        assert (path.parent / name).exists(), link
        assert not anchor or anchor in Page(path.parent / name).anchors, link


@EACH
def test_formulas_are_lines_of_their_own(path: Path) -> None:
    """As the site's hook needs them."""
    lines = [line for line in prose(read(path)).splitlines() if "$$" in line]
    assert all(re.fullmatch(r"\$\$.+\$\$", line) for line in lines)
    assert lines


def test_outputs_are_what_a_cell_prints_its_value_and_its_figures(tmp_path: Path) -> None:
    source = ["import matplotlib.pyplot as plt\n", "print(1)\n", "figure = plt.figure()\n", "2"]
    cell = {"cell_type": "code", "metadata": {}, "source": source}
    write(tmp_path / "a.ipynb", {"cells": [cell], "nbformat": 4})
    found = executed(read(tmp_path / "a.ipynb"))
    outputs = found["cells"][0]["outputs"]
    assert outputs[0]["text"] == ["1\n"]
    assert outputs[1]["data"] == {"text/plain": ["2"]}
    assert is_picture(outputs[2])
    assert executed(found) == found


def test_an_error_in_a_cell_is_raised_and_another_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        executed({"cells": [{"cell_type": "code", "metadata": {}, "source": ["1 / 0"]}]})
    write(tmp_path / "a.ipynb", {"nbformat": 3})
    with pytest.raises(ValueError, match="not a notebook of format 4"):
        read(tmp_path / "a.ipynb")


def test_an_image_is_stored_as_png() -> None:
    image = pytest.importorskip("PIL.Image").new("L", (2, 2))
    assert set(shown(image)) == {"image/png", "text/plain"}
