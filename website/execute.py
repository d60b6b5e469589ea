"""Execute notebooks without Jupyter, and store their outputs: ``python website/execute.py FILE.ipynb …``.

Cells run in one namespace, in a folder of their own that is removed afterwards. Outputs are what a cell prints to
standard output, the value of its last expression, and open figures of pyplot. What it prints to standard error, such as
progress, is not stored.
"""

import ast
import base64
import contextlib
import io
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DPI = 72
"""Resolution of stored figures."""
Notebook = dict[str, Any]


def read(path: Path) -> Notebook:
    """Return a notebook of format 4."""
    notebook: Notebook = json.loads(path.read_text(encoding="utf-8"))
    if notebook.get("nbformat") != 4:
        raise ValueError(f"{path} is not a notebook of format 4: save it with a current version of Jupyter")
    return notebook


def write(path: Path, notebook: Notebook) -> None:
    """Write a notebook as Jupyter does."""
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def executed(notebook: Notebook) -> Notebook:
    """Return a notebook with the outputs of its cells, run in order in an empty folder. Raises: what a cell raises.

    >>> cells = [{"cell_type": "code", "metadata": {}, "source": ["x = 2\\n", "x + 1"]}]
    >>> executed({"cells": cells})["cells"][0]["outputs"][0]["data"]
    {'text/plain': ['3']}
    """
    namespace: dict[str, Any] = {"__name__": "__main__"}
    cells, number = [], 0
    with tempfile.TemporaryDirectory() as folder, _inside(folder):
        for index, cell in enumerate(notebook["cells"]):
            kept = {"cell_type": cell["cell_type"], "id": f"cell-{index}", "metadata": cell["metadata"]}
            if cell["cell_type"] == "code":
                number += 1
                outputs = run("".join(cell["source"]), namespace, number)
                kept = {**kept, "execution_count": number, "outputs": outputs}
            cells.append({**kept, "source": cell["source"]})
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def run(source: str, namespace: dict[str, Any], number: int = 1) -> list[dict[str, Any]]:
    """Run the code of a cell, and return its outputs.

    >>> run("print('a')", {})
    [{'name': 'stdout', 'output_type': 'stream', 'text': ['a\\n']}]
    """
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed, value = io.StringIO(), None
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, f"<cell {number}>", "exec"), namespace)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), f"<cell {number}>", "eval"), namespace)
    outputs: list[dict[str, Any]] = []
    if text := printed.getvalue():
        outputs.append({"name": "stdout", "output_type": "stream", "text": text.splitlines(keepends=True)})
    if value is not None:
        outputs.append(
            {"data": shown(value), "execution_count": number, "metadata": {}, "output_type": "execute_result"}
        )
    outputs += [{"data": shown(each), "metadata": {}, "output_type": "display_data"} for each in _open_figures()]
    return outputs


def shown(value: Any) -> dict[str, Any]:
    """Return the forms of a value that a notebook stores: its text, and of a figure or an image also a PNG."""
    if hasattr(value, "savefig"):
        file = io.BytesIO()
        value.savefig(file, format="png", dpi=DPI, metadata={"Software": None})
        width, height = value.get_size_inches()
        png, text = file.getvalue(), f"<Figure of {width:g} by {height:g} inches>"
    elif hasattr(value, "_repr_png_"):
        png, text = value._repr_png_(), f"<{type(value).__name__}>"
    else:
        return {"text/plain": repr(value).splitlines(keepends=True)}
    return {"image/png": base64.b64encode(png).decode(), "text/plain": [text]}


def _open_figures() -> Iterator[Any]:
    """The figures that pyplot has opened, which are closed after they are drawn; none if nothing imported it."""
    if (pyplot := sys.modules.get("matplotlib.pyplot")) is not None:
        for number in pyplot.get_fignums():
            yield pyplot.figure(number)
            pyplot.close(number)


@contextlib.contextmanager
def _inside(folder: str) -> Iterator[None]:
    """Run the block in a folder, with figures that need no display."""
    before = os.environ.get("MPLBACKEND")
    os.environ["MPLBACKEND"] = "agg"
    try:
        with contextlib.chdir(folder):
            yield
    finally:
        if before is None:
            del os.environ["MPLBACKEND"]
        else:
            os.environ["MPLBACKEND"] = before


if __name__ == "__main__":
    for name in sys.argv[1:]:
        write(Path(name), executed(read(Path(name))))
        print(name)
