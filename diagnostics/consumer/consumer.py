"""The consumer: from the events of a run to its ``results.json``."""

from __future__ import annotations

import logging
import os
import time

import msgspec

from diagnostics.consumer.host import Host
from diagnostics.consumer.ledger import Ledger
from diagnostics.consumer.link import Link
from diagnostics.consumer.priority import Priority
from diagnostics.contract.endpoint import Endpoint
from diagnostics.contract.errors import BlobwatchError
from diagnostics.contract.events import AnyEvent, EpochEnded, RunEnded, RunStarted, decode_event
from diagnostics.contract.folder import RunFolder
from diagnostics.contract.journal import read_journal
from diagnostics.contract.locks import FolderLock, is_held
from diagnostics.contract.results import seconds_since
from diagnostics.contract.snapshot import SnapshotHeader, read_snapshot, snapshot_name

logger = logging.getLogger(__name__)

RECEIVE_S = 0.25


class Consumer:
    """Applies the events of one run, live from its trainer or from its journal."""

    def __init__(
        self, folder: RunFolder, endpoint: Endpoint | None = None, *, gives_way: bool = False
    ) -> None:
        """Prepare for the run in ``folder``, whose consumer lock the caller holds.

        Args:
            folder: The run.
            endpoint: Where its trainer listens, if over TCP.
            gives_way: Leave the processor to training while nothing waits for long.
        """
        self._endpoint = endpoint
        self._folder = folder
        self._priority = Priority() if gives_way else None
        self._ledger = Ledger(folder)
        self._host: Host | None = None
        self._started: RunStarted | None = None
        self._cursor = 0
        self._committed = 0
        self.n_epochs_applied = self.n_epochs_unseen = 0

    def run(self) -> None:
        """Work until the run has ended and everything is written.

        Raises:
            BlobwatchError: There is no run in the folder, or its results cannot be written.
        """
        try:
            while is_held(self._folder.trainer_lock):
                if self._follow_trainer():
                    return
                # What the disk refuses to this process, it may grant to the next trainer's own.
                self._commit()
            self._read_journal()
            if self._ledger.results is None:
                raise BlobwatchError(f"{self._folder.root}: no run here (events.log has no events)")
            self._ledger.mark_dead()
            self._commit()
        finally:
            if self._host is not None:
                self._host.close()

    def _commit(self) -> None:
        if not self._ledger.commit():
            raise BlobwatchError(f"{self._folder.results}: cannot be written")

    def _follow_trainer(self) -> bool:
        """Take events over the socket from one trainer; return whether it ended the run."""
        self._skip_applied()
        with Link(self._folder, self._endpoint) as link:
            while True:
                needs = () if self._host is None else self._host.poll_needs()
                link.ask(self._committed, needs if self._started is not None else None)
                delivery = link.receive(RECEIVE_S)
                self._adapt_priority(delivery.event if delivery is not None else None)
                if delivery is not None and delivery.index == self._cursor:
                    self._apply(delivery.event, delivery.header, delivery.frames)
                    self._cursor += 1
                ended = delivery is not None and self._is_end(delivery.event)
                if (ended or self._ledger.is_due()) and self._ledger.commit():
                    self._committed = self._cursor
                    if ended:
                        link.ask(self._committed, None)
                        return True
                elif not self._ledger.is_dirty:
                    self._committed = self._cursor
                if delivery is None and (link.is_stale() or not is_held(self._folder.trainer_lock)):
                    # Gone, or killed and resumed: the next one may know less than this one told.
                    return False

    def _adapt_priority(self, event: AnyEvent | None) -> None:
        if self._priority is None:
            return
        begun = self._started is not None
        loading = self._host is not None and self._host.poll_needs() is None
        if begun and not loading:
            self._priority.follow(None if event is None else seconds_since(event.at))
        self._priority.apply([os.getpid(), *([self._host.pid] if self._host is not None else [])])

    def _skip_applied(self) -> None:
        """Move the cursor past the records that the results have already."""
        self._cursor = 0
        for payload in read_journal(self._folder.journal).payloads:
            event = self._decoded(payload)
            if not self._ledger.has(event):
                break
            self._note(event)
            self._cursor += 1
        self._committed = self._cursor

    def _read_journal(self) -> None:
        """Apply what the journal has from the cursor on; its trainer is gone."""
        scan = read_journal(self._folder.journal)
        if scan.fault is not None:
            logger.warning("%s: %s; what is before it is used", self._folder.journal, scan.fault)
        for payload in scan.payloads[self._cursor :]:
            event = self._decoded(payload)
            if not self._ledger.has(event):
                header, frames = self._stored_snapshot(event)
                self._apply(event, header, frames)
                if self._ledger.is_due():
                    self._ledger.commit()
            self._note(event)
            self._cursor += 1

    def _decoded(self, payload: bytes) -> AnyEvent:
        try:
            return decode_event(payload)
        except msgspec.DecodeError as error:
            raise BlobwatchError(
                f"{self._folder.journal}: an event that this version does not know: {error}"
            ) from None

    def _stored_snapshot(self, event: AnyEvent) -> tuple[SnapshotHeader | None, list[memoryview]]:
        if not isinstance(event, EpochEnded):
            return None, []
        try:
            name = snapshot_name(event.epoch, event.trace)
            return read_snapshot(self._folder.snapshots / name)
        except FileNotFoundError:
            return None, []
        except (OSError, ValueError) as error:
            return SnapshotHeader(dropped=str(error)), []

    def _note(self, event: AnyEvent) -> None:
        """Remember what the start of a segment says; begin loading diagnostics."""
        if isinstance(event, RunStarted):
            self._started = event
            if event.diagnostics and self._host is None:
                self._host = Host(self._folder)
                if self._priority is not None:
                    self._priority.watch_loading(self._host.pid)

    def _apply(
        self,
        event: AnyEvent,
        header: SnapshotHeader | None,
        frames: list[bytes] | list[memoryview],
    ) -> None:
        self._note(event)
        if not isinstance(event, EpochEnded) or self._host is None:
            self._ledger.apply(event)
        elif not self._ledger.has(event):
            absent = SnapshotHeader(dropped="the snapshot was lost with the training process")
            previous = self._ledger.previous
            fields, errors = self._host.compute(
                event, header or absent, frames, previous, last=self._is_last(event)
            )
            self._ledger.apply(event, fields, errors)
            self.n_epochs_unseen += header is None
        self.n_epochs_applied += isinstance(event, EpochEnded)

    def _is_last(self, event: EpochEnded) -> bool:
        started = self._started
        if started is None:
            return False
        planned = started.epochs if event.trace is None else started.stage2_epochs
        return event.epoch >= planned

    def _is_end(self, event: AnyEvent) -> bool:
        return (
            isinstance(event, RunEnded)
            and self._started is not None
            and event.segment == self._started.segment
        )


def attach(
    folder: RunFolder, endpoint: Endpoint | None = None, *, gives_way: bool = False
) -> tuple[int, int]:
    """Bring the results of a run up to date and, while its trainer lives, keep them so.

    Args:
        folder: The run.
        endpoint: Where its trainer listens, if over TCP.
        gives_way: Leave the processor to training while nothing waits for long.

    Returns:
        The number of epochs that were added to ``results.json``, and of those among them that no
        diagnostic could see, since their weights are no longer there.

    Raises:
        FolderInUseError: The run has a diagnostics process already.
        BlobwatchError: There is no run, or its results cannot be written.
    """
    if not folder.journal.is_file():
        raise BlobwatchError(f"{folder.root}: no run here (there is no events.log)")
    folder.make_private()
    with FolderLock(folder.consumer_lock, "a diagnostics process"):
        consumer = Consumer(folder, endpoint, gives_way=gives_way)
        started = time.monotonic()
        consumer.run()
        logger.info(
            "%d epochs applied in %.1f s", consumer.n_epochs_applied, time.monotonic() - started
        )
        return consumer.n_epochs_applied, consumer.n_epochs_unseen
