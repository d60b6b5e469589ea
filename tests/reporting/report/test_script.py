"""The page's script, run by Node: how cells are ordered."""

import json
import shutil
import subprocess
from importlib import resources

import pytest

NODE = shutil.which("node")
SCRIPT = resources.files("lightning_flows.reporting.report").joinpath("templates/report.js").read_text("utf-8")


@pytest.mark.skipif(NODE is None, reason="Node.js is not installed")
@pytest.mark.parametrize(
    ("cells", "ascending", "descending"),
    [
        (["10", "9.5 ± 0.1", "–", "−2"], ["−2", "9.5 ± 0.1", "10", "–"], ["10", "9.5 ± 0.1", "−2", "–"]),
        (["3.9 nats", "100 %", "1e-3"], ["1e-3", "3.9 nats", "100 %"], ["100 %", "3.9 nats", "1e-3"]),
        (["run_10", "run_9", "", "5"], ["5", "run_9", "run_10", ""], ["5", "run_10", "run_9", ""]),
        (["2026-02-01", "2026-01-31"], ["2026-01-31", "2026-02-01"], ["2026-02-01", "2026-01-31"]),
        (["2.10.0", "2.9.1"], ["2.9.1", "2.10.0"], ["2.10.0", "2.9.1"]),
    ],
)  # fmt: skip
def test_cells_are_sorted_by_value_and_missing_ones_are_last(cells, ascending, descending) -> None:
    code = f"{SCRIPT}\nconst cells = {json.dumps(cells)};\n"
    code += "const by = (down) => [...cells].sort((a, b) => compareCells(a, b, down));\n"
    code += "console.log(JSON.stringify([by(false), by(true)]));"
    done = subprocess.run([str(NODE), "-e", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [ascending, descending]
