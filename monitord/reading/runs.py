"""One run: its last good numbers, its restarts, and what it says of itself."""

from __future__ import annotations

import hashlib
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diagnostics.contract import events
from monitord.reading.columns import Block, Columns
from monitord.reading.files import Document, ResultsReading
from monitord.reading.histories import (
    LOSS_NAMES,
    TRAIN_NAMES,
    agrees,
    block_of,
    entry_of,
    first_difference,
    in_order,
)
from monitord.reading.pace import Pace
from monitord.reading.snapshots import planned_by, take_snapshot
from monitord.reading.standing import Standing
from monitord.reading.tabulation import tabulate
from monitord.reading.traces import Traces
from monitord.series import Floats, RunSeries
from monitord.states import State, Verdict

MAX_EARLIER = 16


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a file cannot be read, and since when (monotonic seconds, and for people)."""

    reason: str
    since_s: float
    since: str


class Run:
    """The state of one run; changed only by the reader, read by everybody else.

    Attributes:
        folder: Its folder.
        id: An opaque name, safe in addresses.
        name: Its name in tables, unique among the runs shown.
        config: Its configuration, nested.
        document: What ``results.json`` says besides the history.
        standing: What it says of itself.
        traces: Stage two, where there is one.
        earlier: What the run was before it started over, oldest first.
        restarts: First epochs of the second and later training processes.
        trouble: Set while a file cannot be read.
        trouble_pending: The same, before the grace for files that are just being written.
        version: One more with every change of what is shown.
        data_version: One more with every change of the numbers.
        last_news_s: When data arrived last, by the monitor's clock.
    """

    def __init__(self, folder: Path, name: str) -> None:
        """Begin with nothing known of the run in ``folder``."""
        self.folder = folder
        self.name = name
        self.id = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
        self.config: dict[str, Any] = {}
        self.document = Document()
        self.columns = Columns()
        self.traces = Traces()
        self.checksums: list[int] = []
        self.earlier: list[RunSeries] = []
        self.restarts: tuple[int, ...] = ()
        self.standing = Standing()
        self.trouble: Trouble | None = None
        self.trouble_pending: Trouble | None = None
        self.verdict = Verdict(State.WAITING, "not read yet", 0.0)
        self.process_alive: bool | None = None
        self.journal_end = 0
        self.version = 0
        self.data_version = 0
        self.last_news_s = -math.inf
        self._file_epoch = 0
        self._pace = Pace()
        self._series: tuple[int, str, RunSeries] | None = None

    def take_config(self, config: dict[str, Any]) -> None:
        """Take over a reading of the configuration."""
        if config != self.config:
            self.config = config
            self._series = None
            self._touched(False)

    def apply_results(self, reading: ResultsReading) -> bool:
        """Take over a reading of ``results.json``; return whether there are new numbers."""
        old, self.document = self.document, reading.document
        block, n_known = reading.block, reading.n_known
        before = self.columns.n_epochs
        if n_known < len(self.checksums) or (not reading.checksums and before):
            self._rewritten(reading, old)
        else:
            if n_known and len(block.epochs) and block.epochs[0] <= self._file_epoch:
                self._start_over(int(block.epochs[0]))  # a trainer that appends to old entries
            self._put_in_order(block)
        self.checksums = reading.checksums
        if len(block.epochs):
            self._file_epoch = int(block.epochs[-1])
        self._read_header()
        changed = len(block.epochs) > 0 or self.columns.n_epochs != before
        changed = self.traces.put_document(self.document.stage2) or changed
        self.document.stage2 = None
        self._touched(changed)
        return changed

    def needs_whole_file(self, reading: ResultsReading) -> bool:
        """Return whether the known entries changed, so that they must be decoded again."""
        return 0 < reading.n_known < len(self.checksums)

    def apply_events(self, new: list[events.AnyEvent]) -> bool:
        """Take over events of the journal; return whether there are new numbers."""
        changed = False
        epochs: list[dict[str, Any]] = []
        for event in new:
            if isinstance(event, events.EpochEnded):
                changed = True
                if event.trace is not None:
                    self.traces.put(event.trace, [entry_of(event)])
                elif event.epoch > self.columns.last_epoch():
                    epochs.append(entry_of(event))
                continue
            if isinstance(event, events.RunStarted):
                self._put_events(epochs)
                epochs = []
                self._started(event)
            elif isinstance(event, events.RunEnded):
                self.standing.take_end(event)
        self._put_events(epochs)
        self._read_header()
        self._touched(changed)
        return changed

    def note_arrival(self, now_s: float) -> None:
        """Remember that data came, by the monitor's clock."""
        self.last_news_s = now_s
        self._pace.note_arrival(now_s, self.columns.last_epoch())

    def n_written(self) -> int:
        """Return how many epochs are in ``results.json``; the journal may have more already."""
        return int(np.searchsorted(self.columns.epochs, self._file_epoch, "right"))

    def series(self) -> RunSeries:
        """Return all numbers; the same object until there are new ones."""
        known = self._series
        if known is None or known[:2] != (self.data_version, self.name):
            known = self._series = (self.data_version, self.name, take_snapshot(self))
        return known[2]

    def column(self, name: str) -> Floats | None:
        """Return one series, of shape (its number of epochs,), by the name in `series`, or None."""
        part, own = self.series().part_with(name)
        return part.values.get(own)

    def loss(self) -> tuple[str, Floats] | None:
        """Return name and values of the loss that tables show, or None."""
        for name in (*LOSS_NAMES, *TRAIN_NAMES):
            column = self.columns.get(name)
            if column is not None and column.size:
                return name, column
        return None

    def epoch_seconds(self) -> tuple[float | None, float | None]:
        """Return the median time per epoch in seconds, over all and over the last few epochs."""
        return self._pace.seconds(self.columns, self.data_version)

    def _rewritten(self, reading: ResultsReading, old: Document) -> None:
        """Entries that were there are gone or different: a restart, unless only details differ."""
        fresh = Columns()
        keep = self.series()
        previous, self.columns = self.columns, fresh
        self._put_in_order(reading.block)
        if previous.n_epochs == 0:
            return
        known = old.run_id in (None, reading.document.run_id)
        if self.journal_end and known and (not fresh.n_epochs or agrees(previous, fresh)):
            if previous.last_epoch() > fresh.last_epoch():
                self.columns = previous  # the journal is ahead of the file; nothing is lost
                self.columns.put(block_of(fresh))
            return
        if _same_process(old, reading.document) and agrees(previous, fresh):
            return
        longer = fresh.n_epochs and fresh.last_epoch() >= previous.last_epoch()
        if longer and agrees(previous, fresh):
            return
        self._keep_earlier(keep, first_difference(previous, fresh))

    def _keep_earlier(self, series: RunSeries, first_epoch: int) -> None:
        self.earlier = [*self.earlier, series][-MAX_EARLIER:]
        kept = tuple(epoch for epoch in self.restarts if epoch < first_epoch)
        self.restarts = (*kept, first_epoch)
        self._pace.forget()

    def _put_in_order(self, block: Block) -> None:
        """Add a block; epochs that begin again inside one file are a restart too."""
        for place, part in enumerate(in_order(block)):
            if place and part.epochs[0] <= self.columns.last_epoch():
                self._start_over(int(part.epochs[0]))
            self.columns.put(part)

    def _start_over(self, first_epoch: int) -> None:
        self._touched(True)
        self._keep_earlier(self.series(), first_epoch)
        self.columns.cut_from(first_epoch)

    def _put_events(self, epochs: list[dict[str, Any]]) -> None:
        if epochs:
            self._put_in_order(tabulate(epochs))

    def _started(self, event: events.RunStarted) -> None:
        if event.segment >= self.standing.n_segments and event.segment > 0:
            if event.first_epoch <= self.columns.last_epoch():
                self._start_over(event.first_epoch)
            elif event.first_epoch not in self.restarts:
                self.restarts = (*self.restarts, event.first_epoch)
        self.standing.take_start(event)

    def _read_header(self) -> None:
        for first in self.standing.take_document(self.document, self.journal_end > 0):
            if first not in self.restarts:
                self.restarts = (*self.restarts, first)

    def _touched(self, numbers: bool) -> None:
        self.version += 1
        self.data_version += numbers

    def planned_epochs(self) -> int | None:
        """Return how many epochs the run shall have, or None."""
        said = self.standing.n_planned
        return said if said is not None else planned_by(self.config)


def _same_process(old: Document, new: Document) -> bool:
    return (old.run_id, old.started_at) == (new.run_id, new.started_at)
