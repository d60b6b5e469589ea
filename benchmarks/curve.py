"""Print a scalar's value at the end of each epoch of a run: ``python benchmarks/curve.py RUN_FOLDER``."""

import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def main(folder: str, tag: str = "val/bpd") -> None:
    events = EventAccumulator(folder)
    events.Reload()
    print(tag, *(f"{event.value:.3f}" for event in events.Scalars(tag)))


if __name__ == "__main__":
    main(*sys.argv[1:3])
