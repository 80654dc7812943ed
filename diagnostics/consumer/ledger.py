"""The ledger: the results of a run in memory, and their commits to ``results.json``."""

from __future__ import annotations

import logging
import time
from collections import deque
from typing import Any

import msgspec

from diagnostics.contract import history
from diagnostics.contract.atomic import remove_leftovers, write_atomic
from diagnostics.contract.errors import UnreadableFileError
from diagnostics.contract.events import AnyEvent, EpochEnded, RunEnded, RunStarted, TraceStarted
from diagnostics.contract.folder import RunFolder
from diagnostics.contract.results import (
    Fields,
    Results,
    Stored,
    encode_results,
    read_results,
    utc_now,
)

logger = logging.getLogger(__name__)

MAX_WRITE_SHARE = 0.03
"""Share of a core that may go into rewriting a growing history."""
MAX_WAIT_SHARE = 0.2
"""Share of the time that may go into waiting for a slow disk."""
RETRY_S = 1.0
"""Pause after a write that the disk refused."""


class Ledger:
    """Applies events to the results, each at most once, and writes them at a bounded rate."""

    def __init__(self, folder: RunFolder) -> None:
        """Begin with what ``results.json`` has; a broken one is set aside and made anew."""
        self._path = folder.results
        self.results: Results | None = None
        self._epochs: set[tuple[int | None, int]] = set()
        self.previous: Fields = {}
        self._dirty = False
        self._due_at = float("-inf")
        self._waited = deque([0.0], maxlen=2)
        self._warned = False
        remove_leftovers(folder.root, self._path.name)
        try:
            self.results = read_results(self._path)
        except FileNotFoundError:
            return
        except UnreadableFileError as error:
            aside = self._path.with_name(f"{self._path.name}.damaged")
            self._path.replace(aside)
            logger.warning("%s; moved to %s and rebuilt from the journal", error, aside.name)
            return
        self._index()

    @property
    def is_dirty(self) -> bool:
        """Whether something has been applied that is not written yet."""
        return self._dirty

    def has(self, event: AnyEvent) -> bool:
        """Return whether applying the event would change nothing."""
        if isinstance(event, EpochEnded):
            return (event.trace, event.epoch) in self._epochs
        if self.results is None:
            return False
        if isinstance(event, TraceStarted):
            return history.find_trace(self.results, event.trace) is not None
        segments = {segment.segment: segment for segment in self.results.segments}
        if isinstance(event, RunStarted):
            return self.results.run_id == event.run_id and event.segment in segments
        return event.segment in segments and segments[event.segment].ended_at is not None

    def apply(
        self,
        event: AnyEvent,
        diagnostics: Fields | None = None,
        errors: dict[str, str] | None = None,
    ) -> None:
        """Apply one event, with the diagnostics of an epoch; see `history.epoch_entry`."""
        if self.has(event):
            return
        if isinstance(event, RunStarted):
            if self.results is None or self.results.run_id != event.run_id:
                self.results = history.new_results(event)
                self._epochs.clear()
            if event.recorded is not None and history.drop_unrecorded(self.results, event.recorded):
                self._index()
            history.apply_start(self.results, event)
        elif self.results is None:
            raise ValueError("an event before the first RunStarted")
        elif isinstance(event, TraceStarted):
            history.apply_trace(self.results, event)
        elif isinstance(event, RunEnded):
            history.apply_end(self.results, event, self._last_entry())
        else:
            entry = history.epoch_entry(event, diagnostics, errors)
            history.apply_epoch(self.results, event, entry)
            self._epochs.add((event.trace, event.epoch))
            self.previous = self.previous | (entry.get("diagnostics") or {})
        self._dirty = True

    def mark_dead(self) -> None:
        """Record that the training process is gone without having said how it ended."""
        if self.results is None or self.results.status != "running":
            return
        segment = self.results.segments[-1]
        reason = f"the training process ({segment.process.pid}) died without a word"
        history.close_segment(segment, reason)
        self.results.status, self.results.status_reason = "interrupted", reason
        self._dirty = True

    def is_due(self) -> bool:
        """Return whether a commit is wanted and would keep the writing share bounded."""
        return self._dirty and time.monotonic() >= self._due_at

    def commit(self) -> bool:
        """Write ``results.json`` if anything has changed; return whether it is up to date now."""
        if not self._dirty or self.results is None:
            return True
        started, cpu_started = time.monotonic(), time.thread_time()
        self.results.updated_at = utc_now()
        try:
            write_atomic(self._path, encode_results(self.results))
        except OSError as error:
            if not self._warned:
                logger.warning("%s: cannot write (%s); tried again later", self._path, error)
            self._warned = True
            self._due_at = time.monotonic() + RETRY_S
            return False
        if self._warned:
            logger.warning("%s: written again", self._path)
        self._warned = self._dirty = False
        ended = time.monotonic()
        # Of the last two: a process that was stopped meanwhile waited long, and need not again.
        self._waited.append(ended - started)
        cpu_s = time.thread_time() - cpu_started
        self._due_at = ended + max(cpu_s / MAX_WRITE_SHARE, min(self._waited) / MAX_WAIT_SHARE)
        return True

    def _index(self) -> None:
        """Note what the results have."""
        assert self.results is not None
        self._epochs.clear()
        self.previous = {}
        for trace, raw in _entries(self.results):
            stored = msgspec.json.decode(raw, type=Stored)
            self._epochs.add((trace, stored.epoch))
            self.previous |= stored.diagnostics or {}

    def _last_entry(self) -> Fields | None:
        assert self.results is not None
        if not self.results.training_history:
            return None
        entry: dict[str, Any] = msgspec.json.decode(self.results.training_history[-1])
        return entry


def _entries(results: Results) -> list[tuple[int | None, msgspec.Raw]]:
    found: list[tuple[int | None, msgspec.Raw]] = [(None, e) for e in results.training_history]
    for trace in results.stage2.traces if results.stage2 is not None else ():
        found += [(trace.trace, entry) for entry in trace.training_history]
    return found
