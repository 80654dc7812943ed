"""TensorBoard's side of bench_monitord: writes and lists the same numbers as event files.

Runs in a Python that has tensorboard, which blobwatch itself never needs.
"""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

N_EPOCHS, N_NUMBERS = 100, 20


def write(root: Path, n_runs: int) -> None:
    seed = random.Random(1)
    for number in range(n_runs):
        writer = EventFileWriter(str(root / f"run_{number:05d}"))
        for epoch in range(1, N_EPOCHS + 1):
            values = [
                Summary.Value(tag=f"metric/{index}", simple_value=seed.random())
                for index in range(N_NUMBERS)
            ]
            summary = Summary(value=values)
            writer.add_event(Event(step=epoch, wall_time=time.time(), summary=summary))
        writer.close()


def list_last(root: Path) -> None:
    """The fastest that TensorBoard's Python offers: raw records, decoded one by one."""
    n_values = 0
    for folder in sorted(root.iterdir()):
        last = {}
        for path in folder.iterdir():
            for record in RawEventFileLoader(str(path)).Load():
                for value in Event.FromString(record).summary.value:
                    last[value.tag] = value.simple_value
        n_values += len(last)
    print(f"{n_values} last values")


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        list_last(Path(sys.argv[2]))
