"""``tensorboard``: losses and the numbers of all diagnostics as TensorBoard's event files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec

from diagnostics.contract.protocol import Epoch, Value
from diagnostics.contract.snapshot import Part

FOLDER = "tensorboard"
INSTALL = 'pip install "tensorboard>=2.21"'
MAX_LIST_NUMBERS = 64
"""A field that is a list is written number by number, unless it has more of them than this."""

HEADER_BYTES, FOOTER_BYTES = 12, 4
"""Around each record: its length in 8 bytes and their checksum; the checksum of the record."""


class TensorBoard:
    """Event files of the losses and of all diagnostics, in the run's folder ``tensorboard``."""

    name = "tensorboard"
    needs: frozenset[Part] = frozenset()
    runs_last = True

    def __init__(self) -> None:
        """Load the package ``tensorboard``, which is optional.

        Raises:
            ImportError: It is not installed; the message says how to.
        """
        try:
            self._events = import_module("tensorboard.compat.proto.event_pb2")
            self._summaries = import_module("tensorboard.compat.proto.summary_pb2")
            self._files = import_module("tensorboard.summary.writer.event_file_writer")
        except ImportError as error:
            raise ImportError(f"the package tensorboard is needed: {INSTALL} ({error})") from None
        self._writers: dict[Path, Any] = {}
        self._written: dict[Path, set[int]] = {}

    def compute(self, epoch: Epoch) -> Mapping[str, Value]:
        """Write the epoch, unless the files have it already, and wait for the disk; no fields."""
        folder = log_folder(epoch.folder, epoch.event.trace)
        step = epoch.event.epoch
        if folder not in self._writers:
            self._written[folder] = self._steps_in(folder)
            self._writers[folder] = self._files.EventFileWriter(str(folder))
        if step in self._written[folder]:
            return {}
        # One record for the whole epoch: after a crash it is there completely or not at all.
        values = [self._value(tag, number) for tag, number in scalars(epoch)]
        record = self._events.Event(
            wall_time=datetime.fromisoformat(epoch.event.at).timestamp(),
            step=step,
            summary=self._summaries.Summary(value=values),
        )
        try:
            self._writers[folder].add_event(record)
            self._writers[folder].flush()
        except OSError:
            # A writer that has failed once fails for ever; the next epoch begins a new file.
            del self._writers[folder]
            raise
        self._written[folder].add(step)
        return {}

    def _value(self, tag: str, number: float) -> Any:
        return self._summaries.Summary.Value(tag=tag, simple_value=number)

    def _steps_in(self, folder: Path) -> set[int]:
        """Return the epochs that the event files in ``folder`` have."""
        found = set()
        for path in sorted(folder.glob("events.out.tfevents.*")):
            for record in whole_records(path.read_bytes()):
                event = self._events.Event.FromString(record)
                if event.HasField("summary"):
                    found.add(int(event.step))
        return found


def log_folder(run: Path, trace: int | None) -> Path:
    """Return where the event files of stage one, or of a trace of stage two, are."""
    return run / FOLDER if trace is None else run / FOLDER / f"trace_{trace:03d}"


def scalars(epoch: Epoch) -> Iterator[tuple[str, float]]:
    """Yield tag and number of everything that is a number in an epoch; NaN stays NaN."""
    groups: dict[str, Mapping[str, Any]] = {
        "train": epoch.event.train,
        "test": epoch.event.test,
        "timing": msgspec.to_builtins(epoch.event.timing),
        "diagnostics": epoch.fields,
    }
    for group, fields in groups.items():
        for name, value in fields.items():
            found = list(_numbers(f"{group}/{name}", value))
            if len(found) <= MAX_LIST_NUMBERS:
                yield from found


def _numbers(tag: str, value: Any) -> Iterator[tuple[str, float]]:
    if isinstance(value, int | float):
        yield tag, float(value)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _numbers(f"{tag}/{index}", item)


def whole_records(data: bytes) -> Iterator[bytes]:
    """Yield the records of an event file; a last one that a crash cut short is left out."""
    start = 0
    while start + HEADER_BYTES <= len(data):
        end = start + HEADER_BYTES + int.from_bytes(data[start : start + 8], "little")
        if end + FOOTER_BYTES > len(data):
            return
        yield data[start + HEADER_BYTES : end]
        start = end + FOOTER_BYTES
