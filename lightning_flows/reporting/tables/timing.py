"""Which times and memory of runs can be compared.

A key describes how a run was measured: see :func:`hardware`, :func:`kind`, :func:`clock` and :func:`sampling_clock`.
Rows of a table are compared by their runs with the same key: see :func:`alike`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from lightning_flows.reporting.tables.runs import Run

Name = TypeVar("Name")
Key = tuple[Any, ...]


def hardware(run: Run) -> Key | None:
    """Devices, number of threads and precision of a run; None if they are not known."""
    if "device" not in run.runtime:
        return None
    return run.runtime.get("num_devices", 1), run.runtime["device"], run.runtime.get("precision")


def kind(run: Run) -> Key | None:
    """Key of peak memory: hardware, and whether steps were compiled and recomputed. None if it is not known."""
    where = hardware(run)
    return where and (*where, *(str(run.runtime.get(key) or None) for key in ("compiled", "recompute")))


def clock(run: Run) -> Key | None:
    """Key of training steps: kind, and CPU or wall time. None if it is not known, or steps were not timed."""
    which = kind(run) if step_seconds(run) is not None else None
    return which and (*which, "train_step_cpu_seconds" in run.runtime)


def sampling_clock(run: Run) -> Key | None:
    """Key of sampling: hardware, and CPU or wall time. None if it is not known."""
    where = hardware(run)
    return where and (*where, "sample_cpu_seconds_per_image" in run.runtime)


def alike(rows: Mapping[Name, Sequence[Run]], key: Callable[[Run], Key | None]) -> dict[Name, list[Run]]:
    """Runs of each row that were measured in the same way: those with a key that occurs in all rows.

    If several keys do, the one with the most runs is used; if none does, the result is empty for each row. Runs with an
    unknown key are kept, and a row that has only such runs is not required to have the key.
    """
    every = [each for runs in rows.values() for run in runs if (each := key(run)) is not None]
    known = [keys for runs in rows.values() if (keys := {key(run) for run in runs} - {None})]
    shared = [each for each in every if all(each in keys for keys in known)]
    if every and not shared:
        return {name: [] for name in rows}
    best = max(shared, key=every.count, default=None)
    return {name: [run for run in runs if key(run) in (None, best)] for name, runs in rows.items()}


def step_seconds(run: Run) -> float | None:
    """Seconds per training step of a run: CPU time if it is recorded, otherwise wall time."""
    seconds = run.runtime.get("train_step_cpu_seconds", run.runtime.get("train_step_seconds"))
    return float(seconds) if seconds is not None and seconds > 0 else None


def sampling_seconds(run: Run) -> float | None:
    """Seconds per sampled image or graph of a run: CPU time if it is recorded, otherwise wall time."""
    seconds = run.runtime.get("sample_cpu_seconds_per_image", run.runtime.get("sample_seconds_per_image"))
    return None if seconds is None else float(seconds)


def peak_mebibytes(run: Run) -> float | None:
    """Peak memory of a run in MiB."""
    size = run.runtime.get("peak_memory_bytes")
    return None if size is None else size / 2**20


class Measure(NamedTuple):
    """A measured value of a run, and the key of runs whose values can be compared."""

    value: Callable[[Run], float | None]
    key: Callable[[Run], Key | None]

    def of(self, rows: Mapping[Name, Sequence[Run]]) -> dict[Name, list[float]]:
        """Values of each row, of runs that were measured :func:`alike`."""
        measured = {name: [run for run in runs if self.value(run) is not None] for name, runs in rows.items()}
        kept = alike(measured, self.key)
        return {name: [each for run in runs if (each := self.value(run)) is not None] for name, runs in kept.items()}


STEP = Measure(step_seconds, clock)
SAMPLING = Measure(sampling_seconds, sampling_clock)
MEMORY = Measure(peak_mebibytes, kind)


def devices(runs: Sequence[Run]) -> list[str]:
    """Distinct devices of runs, in order, with their number.

    >>> from pathlib import Path
    >>> devices([Run(Path(), Path(), runtime={"device": "CPU, 1 thread"})])
    ['1 x CPU, 1 thread']
    """
    known = [run.runtime for run in runs if "device" in run.runtime]
    return list(dict.fromkeys(f"{each.get('num_devices', 1)} x {each['device']}" for each in known))


def times_note(rows: Mapping[Name, Sequence[Run]]) -> str:
    """A sentence on the times that are shown; empty if they are those of all runs."""
    timed = {name: [run for run in runs if clock(run) is not None] for name, runs in rows.items()}
    kept = alike(timed, clock)
    if kept == timed:
        return ""
    runs = [run for each in kept.values() for run in each]
    if not runs:
        return (
            "Times are left out, because the rows have no runs that were timed in the same way: on the same kind of "
            "device, with the same number of threads, precision, compiler and recompute setting."
        )
    num = sum(map(len, timed.values()))
    where = " or ".join(devices(runs))
    return f"Times are those of the {len(runs)} of {num} runs that were timed in the same way, on {where}."
