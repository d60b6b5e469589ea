"""Progress of commands: bars on a terminal, lines in logs."""

import io
import re
import sys
from pathlib import Path

import pytest

from lightning_flows.progress import Lines, progress

PACKAGE = Path(sys.modules["lightning_flows"].__file__ or "").parent


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def printed(capsys: pytest.CaptureFixture[str], seconds: float, num: int, total: int | None) -> list[str]:
    """Lines of work whose steps take ``seconds`` each."""
    now = [0.0]
    lines = Lines(desc="sampling", total=total, now=lambda: now[0])
    for _ in range(num):
        now[0] += seconds
        lines.update()
    return capsys.readouterr().err.splitlines()


def test_lines_are_at_least_five_seconds_apart_and_end_at_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, 1.0, 12, 12) == [
        "sampling: 41 %, 0:00:07 left",
        "sampling: 83 %, 0:00:02 left",
        "sampling: 100 %",
    ]
    assert printed(capsys, 2.0, 4, None) == ["sampling: 3"]


def test_short_work_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, 0.1, 40, 40) == []


def test_logs_have_no_bars(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(total=3, desc="sampling", unit="sample") as shown:
        assert isinstance(shown, Lines)
        shown.update(3)
    assert list(progress(iter("ab"), desc="reading", unit="run")) == ["a", "b"]
    assert capsys.readouterr().err == ""


def test_terminals_have_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    assert list(progress([1, 2], desc="reading", unit="run")) == [1, 2]
    assert "reading: 100%" in terminal.getvalue()
    monkeypatch.setattr(sys, "stderr", quiet := Terminal())
    assert list(progress([1, 2], desc="reading", unit="run", quiet=True)) == [1, 2]
    assert quiet.getvalue() == ""


def test_all_progress_comes_from_one_place() -> None:
    users = [path.name for path in PACKAGE.rglob("*.py") if re.search(r"import tqdm", path.read_text())]
    assert users == ["progress.py"]
