"""What the kernel says has happened, boiled down to folders to look at."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)

EVENT_KINDS: list[type[FileSystemEvent]] = [
    FileMovedEvent,
    FileCreatedEvent,
    FileClosedEvent,
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
]
FILES = frozenset({"results.json", "events.log", "config.json"})


class Hints(FileSystemEventHandler):
    """Collects the folders in which something happened, and wakes the loop."""

    def __init__(self, wake: Callable[[], None]) -> None:
        """Take the function that wakes the loop."""
        self._wake = wake
        self._lock = threading.Lock()
        self._runs: set[str] = set()
        self._trees: set[str] = set()
        self.n_events = 0

    def dispatch(self, event: FileSystemEvent) -> None:
        """Note one event; never raises, for that would end the observer."""
        with contextlib.suppress(Exception):
            self._note(event)

    def _note(self, event: FileSystemEvent) -> None:
        paths = [os.fsdecode(path) for path in (event.src_path, event.dest_path) if path]
        noted = False
        for path in paths:
            folder, name = os.path.split(path)
            if event.is_directory:
                if not name.startswith("."):
                    with self._lock:
                        self._trees.update((folder, path))
                    noted = True
            elif name in FILES:
                with self._lock:
                    self._runs.add(folder)
                noted = True
        if noted:
            self.n_events += 1
            self._wake()

    def take(self) -> tuple[set[str], set[str]]:
        """Return and forget the run folders, and the folders whose subfolders changed."""
        with self._lock:
            runs, self._runs = self._runs, set()
            trees, self._trees = self._trees, set()
        return runs, trees


class OverflowCounter(logging.Handler):
    """Counts the overflows that watchdog reports, which it does only to its log."""

    def __init__(self, wake: Callable[[], None]) -> None:
        """Name the roots and the function that wakes the loop."""
        super().__init__(logging.WARNING)
        self._wake = wake
        self.n_overflows = 0

    def emit(self, record: logging.LogRecord) -> None:
        if "events were lost" in record.getMessage():
            self.n_overflows += 1
            self._wake()
