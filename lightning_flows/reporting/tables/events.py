"""Curves that a run logged for TensorBoard."""

import os
from itertools import islice
from pathlib import Path

from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event

from lightning_flows.reporting.tables.run_files import open_file
from lightning_flows.reporting.tables.scalars import Scalars, scalars_of

MAX_BYTES, MAX_EVENTS = 2**28, 1_000_000
"""Limits per file, each about half a minute of reading."""
FRAME, MAX_SCALAR = 16, 1024
"""Bytes around an event, and of the largest event that is parsed: scalars need a tenth of that, images more."""


def read_scalars(folder: Path) -> Scalars:
    """Read scalars of the event files in a folder; if a step was logged twice, the later value counts.

    In a damaged file, everything before the damage is kept.
    """
    found: dict[str, dict[int, float]] = {}
    problems = []
    for path in sorted(folder.glob("events.out.tfevents.*")):
        size, end, count = -1, 0, 0
        try:
            with os.fdopen(open_file(path, folder), "rb") as file:
                size = os.fstat(file.fileno()).st_size
            records = RawEventFileLoader(os.path.realpath(path)).Load() if size <= MAX_BYTES else ()
            for record in islice(records, MAX_EVENTS):
                event = Event.FromString(record) if len(record) <= MAX_SCALAR else Event()
                for value in event.summary.value:
                    if value.HasField("simple_value"):
                        found.setdefault(value.tag, {})[event.step] = value.simple_value
                end, count = end + len(record) + FRAME, count + 1
        except Exception:  # a crafted file may raise anything in a parser
            size = -1
        if end != size:  # the loader ends silently at a damaged record
            problems.append(
                f"{path.name} is damaged after {count} events, still being written, or larger than {MAX_EVENTS} events "
                f"or {MAX_BYTES // 2**20} MiB: its curves end there"
            )
    return scalars_of(found, problems)
