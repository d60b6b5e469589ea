"""Curves that every run writes, whatever its loggers."""

import json
import os
from collections.abc import Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from lightning_flows.errors import DataError
from lightning_flows.reporting.tables.run_files import open_file, parse_json
from lightning_flows.reporting.tables.scalars import Scalars, scalars_of

CURVES = "curves.jsonl"
"""File in a run folder with a line for each step at which values were logged."""
MAX_LINE, MAX_LINES = 4096, 1_000_000
"""Limits of a line in bytes, and of a file in lines: about half a minute of reading."""


def curve_line(step: int, values: Mapping[str, float]) -> str:
    """A line of the file.

    >>> curve_line(49, {"epoch": 0, "val/bpd": 3.25})
    '{"step": 49, "epoch": 0, "val/bpd": 3.25}'
    """
    return json.dumps({"step": step, **values})


def read_curve_file(folder: Path) -> Scalars:
    """Read the curves of a run folder; if a step was logged twice, as after resuming, the later line counts.

    A damaged line is skipped. Without a file there are no curves, which is not a problem.
    """
    path = folder / CURVES
    points: dict[str, dict[int, float]] = {}
    if not (path.is_symlink() or path.exists()):
        return Scalars()
    damaged, is_whole = [], True
    try:
        with os.fdopen(open_file(path, folder), "rb") as file:
            lines = iter(partial(file.readline, MAX_LINE), b"")
            for number, line in enumerate(islice(lines, MAX_LINES), 1):
                try:
                    step, values = _checked(parse_json(line.decode("utf-8", "replace"), path))
                except DataError:
                    damaged.append(number)
                    continue
                for tag, value in values.items():
                    points.setdefault(tag, {})[step] = value
            is_whole = not file.read(1)
    except (DataError, OSError) as error:
        return scalars_of(points, [str(error)])
    problems = []
    if damaged:
        problems.append(
            f"{CURVES} has damaged lines ({len(damaged)}, the first is line {damaged[0]}), which are skipped"
        )
    if not is_whole:
        problems.append(f"{CURVES} has more than {MAX_LINES} lines: its curves end there")
    return scalars_of(points, problems)


def _checked(line: Any) -> tuple[int, dict[str, float]]:
    """Return step and values of a line. Raises: DataError if it is anything else."""
    if not isinstance(line, dict) or any(isinstance(each, bool) for each in line.values()):
        raise DataError("a line is not a mapping of names to numbers")
    step = line.pop("step", None)
    if not isinstance(step, int) or step < 0 or not all(isinstance(each, int | float) for each in line.values()):
        raise DataError("a line has no step or values that are not numbers")
    return step, {tag: float(value) for tag, value in line.items()}
