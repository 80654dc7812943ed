"""The courier: the I/O thread of a run.

It alone computes snapshots, owns the socket, and supervises the diagnostics process, so training
never waits for any of them. The journal is the truth; what goes over the socket is a hint that
can be lost and asked for again.
"""

from __future__ import annotations

import contextlib
import hmac
import logging
import os
import queue
import sys
import threading
import time

import zmq
from torch import Tensor

from diagnostics.contract import wire
from diagnostics.contract.endpoint import Endpoint
from diagnostics.contract.events import EpochEnded, decode_event
from diagnostics.contract.journal import JournalWriter
from diagnostics.contract.snapshot import Part, SnapshotHeader
from trainer.emission.backlog import Backlog
from trainer.emission.gate import Gate
from trainer.emission.socket import open_router
from trainer.emission.spool import Frames, Spool, WeightsCopy
from trainer.emission.supervisor import Supervisor

logger = logging.getLogger(__name__)

POLL_MS = 200
SWITCH_INTERVAL_S = 2e-4
QUIET_LIMIT_S = 60.0
"""At the end of a run: how long the diagnostics process may make no progress before we leave."""


class Courier(threading.Thread):
    """Serves the records of the journal, with their snapshots, to one consumer."""

    def __init__(
        self,
        journal: JournalWriter,
        spool: Spool,
        address: str,
        token: str,
        supervisor: Supervisor,
        *,
        memory_bytes: int,
        endpoint: Endpoint | None = None,
    ) -> None:
        """Prepare; nothing happens before `start`.

        Args:
            journal: The open journal; its earlier records are served too.
            spool: Where snapshots wait.
            address: ZeroMQ address to bind.
            token: The secret that a consumer must show.
            supervisor: Starts the diagnostics process and starts it again.
            memory_bytes: How many bytes of copied weights may wait for this thread.
            endpoint: Keys where ``address`` is one of TCP.
        """
        super().__init__(name="courier", daemon=True)
        self._journal = journal
        self._spool = spool
        self._address = address
        self._token = token
        self._supervisor = supervisor
        self._memory_bytes = memory_bytes
        self._endpoint = endpoint
        self._waiting_bytes = 0
        self._posted: queue.SimpleQueue[tuple[bytes, WeightsCopy | str | None] | None]
        self._posted = queue.SimpleQueue()
        self._spare: queue.SimpleQueue[tuple[Tensor, Tensor]] = queue.SimpleQueue()
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)
        self._backlog = Backlog(journal.payloads)
        self._needs: tuple[Part, ...] | None = None
        self._peer: bytes | None = None
        self._next = 0
        self._limit = 0
        self._closing = False
        self._fresh: dict[int, tuple[SnapshotHeader, Frames]] = {}
        self.n_rejected = 0

    # What the training thread calls.

    def has_room(self, n_bytes: int) -> bool:
        """Return whether one more copy of ``n_bytes`` may wait; one copy always may."""
        return self._waiting_bytes == 0 or self._waiting_bytes + n_bytes <= self._memory_bytes

    def spare(self) -> tuple[Tensor, Tensor] | None:
        """Return the tensors of a copy that is no longer needed, or None."""
        try:
            return self._spare.get_nowait()
        except queue.Empty:
            return None

    def post(self, record: bytes, copy: WeightsCopy | str | None) -> None:
        """Hand over a committed record and its snapshot: a copy, or why there is none."""
        if isinstance(copy, WeightsCopy):
            self._waiting_bytes += copy.n_bytes
        self._posted.put((record, copy))
        self._wake()

    @property
    def is_idle(self) -> bool:
        """Whether the consumer has acknowledged every record that was posted."""
        return self._posted.empty() and self._backlog.acknowledged >= len(self._backlog)

    def finish(self) -> None:
        """Wait until everything is acknowledged or the diagnostics process makes no progress."""
        if self.is_alive():
            self._posted.put(None)
            self._wake()
            self.join()

    def _wake(self) -> None:
        # Nobody listens once the thread has ended; a full pipe wakes it as well as one more byte.
        with contextlib.suppress(OSError):
            os.write(self._wake_write, b"x")

    # The thread.

    def run(self) -> None:
        """Serve until `finish` is called and everything is acknowledged."""
        # The training thread must not wait for this one's Python code: 5 ms is Python's default.
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        try:
            with (
                zmq.Context() as context,
                self._gate(context),
                open_router(context, self._address, self._endpoint) as socket,
            ):
                self._serve(socket)
        except Exception:
            logger.exception("the I/O thread failed; the journal still holds every epoch")
            self._drain_after_failure()
        finally:
            self._supervisor.leave()
            with contextlib.suppress(OSError):
                os.unlink(self._address.removeprefix("ipc://"))
            os.close(self._wake_read)
            os.close(self._wake_write)

    def _gate(
        self, context: zmq.Context[zmq.Socket[bytes]]
    ) -> contextlib.AbstractContextManager[object]:
        if self._endpoint is None:
            return contextlib.nullcontext()
        return Gate(context, self._endpoint.allowed)

    def _serve(self, socket: zmq.Socket[bytes]) -> None:
        poller = zmq.Poller()
        poller.register(socket, zmq.POLLIN)
        poller.register(self._wake_read, zmq.POLLIN)
        progress_at, seen = time.monotonic(), -1
        while True:
            self._supervisor.check(self._backlog.acknowledged)
            ready = dict(poller.poll(POLL_MS))
            if self._wake_read in ready:
                os.read(self._wake_read, 4096)
            if socket in ready:
                self._receive(socket)
            self._take_posted()
            self._deliver(socket)
            if self._backlog.acknowledged != seen:
                progress_at, seen = time.monotonic(), self._backlog.acknowledged
            if self._closing and self._is_over(time.monotonic() - progress_at):
                return

    def _is_over(self, quiet_s: float) -> bool:
        n_left = len(self._backlog) - self._backlog.acknowledged
        if n_left <= 0:
            return True
        if self._supervisor.has_given_up or quiet_s > QUIET_LIMIT_S:
            logger.warning(
                "the diagnostics process did not take the last %d events; they are safe in the"
                " journal: run `python -m diagnostics %s` to bring results.json up to date",
                n_left,
                self._supervisor.folder,
            )
            return True
        return False

    def _take_posted(self) -> None:
        while True:
            try:
                item = self._posted.get_nowait()
            except queue.Empty:
                return
            if item is None:
                self._closing = True
                continue
            record, copy = item
            self._keep_snapshot(record, copy)
            self._backlog.append(record)

    def _keep_snapshot(self, record: bytes, copy: WeightsCopy | str | None) -> None:
        if copy is None:
            return
        if isinstance(copy, WeightsCopy):
            try:
                self._fresh = {len(self._backlog): self._spool.put(copy, self._needs)}
            except Exception as error:
                logger.exception("the snapshot of epoch %d cannot be computed", copy.epoch)
                self._spool.put_mark(copy.epoch, copy.trace, f"{type(error).__name__}: {error}")
            self._waiting_bytes -= copy.n_bytes
            self._spare.put((copy.encoder, copy.decoder))
            return
        event = decode_event(record)
        assert isinstance(event, EpochEnded)
        self._spool.put_mark(event.epoch, event.trace, copy)

    def _receive(self, socket: zmq.Socket[bytes]) -> None:
        """Take what peers say; whatever is not a request of the run's consumer is counted."""
        for _ in range(100):
            try:
                peer, *frames = socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            try:
                fetch = wire.decode_fetch(frames)
                if not hmac.compare_digest(fetch.token.encode(), self._token.encode()):
                    raise ValueError("wrong token")
                if fetch.cursor > len(self._backlog):
                    self._take_posted()  # it may have read in the journal what still waits here
                if fetch.cursor > len(self._backlog):
                    raise ValueError(f"cursor {fetch.cursor} is past the journal's end")
            except ValueError as error:
                self.n_rejected += 1
                if self.n_rejected in (1, 10, 100) or self.n_rejected % 1000 == 0:
                    logger.warning("%d messages rejected; last: %s", self.n_rejected, error)
                continue
            self._accept(peer, fetch)

    def _accept(self, peer: bytes, fetch: wire.Fetch) -> None:
        is_behind = fetch.cursor < self._backlog.first
        if is_behind and not self._backlog.rewind(fetch.cursor, self._journal.path):
            return  # the journal was lost too
        if peer != self._peer or fetch.cursor > self._next:
            # A new consumer says where it stands; the old one, if it still talks, loses the floor.
            self._next = fetch.cursor
        self._peer = peer
        self._limit = fetch.cursor + fetch.credit
        self._needs = fetch.needs if fetch.needs is not None else self._needs
        self._acknowledge(fetch.cursor)

    def _acknowledge(self, cursor: int) -> None:
        for index, record in self._backlog.acknowledge(cursor):
            event = decode_event(record)
            if isinstance(event, EpochEnded):
                self._spool.remove(event)
            self._fresh.pop(index, None)

    def _deliver(self, socket: zmq.Socket[bytes]) -> None:
        """Send what the consumer has credit for."""
        while self._peer is not None and self._next < min(self._limit, len(self._backlog)):
            record = self._backlog[self._next]
            event = decode_event(record)
            snapshot = self._fresh.get(self._next)
            if snapshot is None and isinstance(event, EpochEnded):
                snapshot = self._spool.get(event)
            header, frames = snapshot or (None, [])
            deliver = wire.Deliver(index=self._next, record=record, snapshot=header)
            try:
                message: list[bytes | memoryview] = [self._peer, wire.encode(deliver), *frames]
                socket.send_multipart(message, zmq.NOBLOCK, copy=False)
            except zmq.ZMQError:
                # Gone, or its pipe is full: it will ask again from its cursor.
                self._peer = None
                return
            self._next += 1

    def _drain_after_failure(self) -> None:
        while self._posted.get() is not None:
            self._waiting_bytes = 0
