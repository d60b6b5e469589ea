"""Curves that a run logged for TensorBoard."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from google.protobuf.message import DecodeError
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

from lightning_flows.errors import DataError
from lightning_flows.reporting.tables.run_files import open_file

LARGEST = 1024
"""Bytes of the largest record that is read: scalars take a tenth of that, images and histograms more."""
MOST = 1_000_000
"""Events that are read of a run: about half a minute."""

Curve = list[tuple[int, float]]
"""Steps and values, in the order of the steps."""


@dataclass(frozen=True)
class Scalars:
    """Curves by tag, and a sentence for each event file that is broken: what lies before the break is kept."""

    curves: dict[str, Curve] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def read_scalars(folder: Path) -> Scalars:
    """Scalars of the event files in a folder; of a step that was logged twice, as after resuming, the later value.

    TensorBoard's own EventAccumulator ends quietly where a file is broken; here the break is told. It also takes
    longer, as it checks the bytes of every image in Python.
    """
    found: dict[str, dict[int, float]] = {}
    problems = []
    left = MOST
    for path in sorted(folder.glob("events.out.tfevents.*")):
        count = 0
        try:
            for event in _events(path, folder):
                count += 1
                if count > left:
                    problems.append(f"expected at most {MOST} events; got more in {path.name}: its curves end there")
                    return _scalars(found, problems)
                for value in event.summary.value:
                    if value.HasField("simple_value"):
                        found.setdefault(value.tag, {})[event.step] = value.simple_value
        except (DataError, DecodeError, OSError):
            problems.append(
                f"expected a whole event file; got {path.name}, which is broken after {count} events or still being "
                "written: its curves end there"
            )
        left -= count
    return _scalars(found, problems)


def _scalars(found: dict[str, dict[int, float]], problems: list[str]) -> Scalars:
    return Scalars({tag: sorted(points.items()) for tag, points in found.items()}, problems)


def _events(path: Path, folder: Path) -> Iterator[Event]:
    """Events of a file; of large records only the frame is looked at. Raises: DataError where the file is broken.

    A record is its length in 8 bytes, a checksum of these in 4, the event, and a checksum of the event in 4.
    """
    with os.fdopen(open_file(path, folder), "rb") as file:
        size, end = os.fstat(file.fileno()).st_size, 0
        while head := file.read(12):
            length = int.from_bytes(head[:8], "little")
            end += 12 + length + 4
            whole = len(head) == 12 and masked_crc32c(head[:8]) == int.from_bytes(head[8:], "little")
            whole = whole and end <= size  # before reading that many bytes
            if whole and length > LARGEST:
                file.seek(end)
            elif whole:
                body = file.read(length + 4)
                whole = len(body) == length + 4 and masked_crc32c(body[:length]) == int.from_bytes(
                    body[length:], "little"
                )
            if not whole:
                raise DataError(f"expected a whole event file; got {path}, which is broken")
            if length <= LARGEST:
                yield Event.FromString(body[:length])
