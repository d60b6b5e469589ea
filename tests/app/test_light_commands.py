"""Commands that need no model do not import torch."""

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import sys
from lightning_flows.app.cli import main
sys.stderr = sys.stdout
for command in sys.stdin.read().splitlines():
    try:
        main(command.split())
    except SystemExit as ended:
        print(ended.code, end="\\0")
    assert not {"torch", "lightning"} & set(sys.modules), command
"""
COMMANDS = {
    "--help": ("report     Write one HTML page", 0),
    "help": ("usage: ", 0),
    "--version": ("lightning_flows 0.", 0),
    "fti": ("error: fti is not a command; did you mean fit?", 2),
    "fit --config dmeo.yaml": ("did you mean demo.yaml?", 2),
    "fit --config bad.yaml": ("bad.yaml, line 2: ", 2),
    "fit --config": ("error: --config requires a file", 2),
    "fit --config --print_config": ("error: --config requires a file", 2),
    "fit --ckpt_path=": ("error: --ckpt_path is empty", 1),
    "sample best.ckpt --out there.png": ("error: there.png exists: choose another file, or add --overwrite", 1),
    "figure 2 --out there.png": ("error: there.png exists", 1),
    "report --out there.html": ("error: there.html exists", 1),
    "predict --ckpt_path best.ckpt --out there.csv": ("error: there.csv exists", 1),
    "predict --out=there.csv": ("error: there.csv exists", 1),
    "sample": ("error: sample needs a checkpoint", 2),
    "sample --num=x best.ckpt": ("error: --num: expected int; got x", 2),
    "sample best.ckpt --npyy": ("error: --npyy is not an option; did you mean --npy?", 2),
    "sample best.ckpt --temperature=-1": ("error: --temperature -1.0 is not allowed", 1),
    "figure 9": ("error: 9 is not a figure: choose 1 (exponential_matrix)", 1),
    "sample --help": ("usage: python -m lightning_flows sample CKPT_PATH", 0),
    "figure --help": ("usage: python -m lightning_flows figure NAME", 0),
    "table --help": ("usage: python -m lightning_flows table NUMBER", 0),
    "table 1 --runs nowhere": ("nowhere", 1),
    "report --runs nowhere": ("error: nowhere is not a folder", 1),
}


def test_help_and_mistakes_need_no_torch(tmp_path: Path) -> None:
    for name in ("there.png", "there.html", "there.csv"):
        (tmp_path / name).write_text("precious")
    (tmp_path / "bad.yaml").write_text("a: [1\nb: 2\n")
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT], input="\n".join(COMMANDS), cwd=tmp_path, capture_output=True, text=True,
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "COLUMNS": "120"}, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    output = result.stdout.split("\0")
    for (command, (message, status)), text in zip(COMMANDS.items(), output, strict=False):
        assert message in text, (command, text)
        assert text.endswith(f"\n{status}"), (command, text)
        assert "Traceback" not in text, command
    assert len(output) == len(COMMANDS) + 1
    assert {path.read_text() for path in tmp_path.glob("there.*")} == {"precious"}
