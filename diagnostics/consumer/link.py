"""The link to a live trainer: a DEALER that asks from its own cursor, with credit."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from types import TracebackType

import msgspec
import zmq

from diagnostics.contract import wire
from diagnostics.contract.endpoint import Endpoint
from diagnostics.contract.events import AnyEvent, decode_event
from diagnostics.contract.folder import RunFolder
from diagnostics.contract.regular import read_regular
from diagnostics.contract.snapshot import Part, SnapshotHeader

logger = logging.getLogger(__name__)

ASK_AGAIN_S = 1.0
CREDIT = 64


@dataclass(frozen=True, slots=True)
class Delivery:
    """A record of the journal with its snapshot.

    Attributes:
        index: Position in the journal, from 0.
        event: The event.
        header: Layout of the snapshot; None if there is none.
        frames: Its raw frames.
    """

    index: int
    event: AnyEvent
    header: SnapshotHeader | None
    frames: list[bytes]


class Link:
    """Fetches records; opened with ``with``."""

    def __init__(self, folder: RunFolder, endpoint: Endpoint | None = None) -> None:
        """Prepare to talk to the trainer of the run in ``folder``, over TCP with ``endpoint``."""
        self._folder = folder
        self._endpoint = endpoint
        self._context = zmq.Context()
        self._socket: zmq.Socket[bytes] | None = None
        self._token = ""
        self._asked_at = float("-inf")
        self._asked: wire.Fetch | None = None
        self._expected = 0
        self.n_rejected = 0

    def __enter__(self) -> Link:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close(linger_ms=1000)
        self._context.term()

    def ask(self, cursor: int, needs: tuple[Part, ...] | None) -> None:
        """Say what is committed and what is wanted; cheap to call often."""
        if self._socket is None and not self._connect(cursor):
            return
        fetch = wire.Fetch(token=self._token, cursor=cursor, credit=CREDIT, needs=needs)
        now = time.monotonic()
        if fetch == self._asked and now - self._asked_at < ASK_AGAIN_S:
            return
        assert self._socket is not None
        try:
            self._socket.send(wire.encode(fetch), zmq.NOBLOCK)
        except zmq.Again:
            return
        self._asked, self._asked_at = fetch, now

    def receive(self, timeout_s: float) -> Delivery | None:
        """Return the next record in order, or None if none comes within the time."""
        if self._socket is None:
            time.sleep(min(timeout_s, 0.05))
            return None
        if not self._socket.poll(int(timeout_s * 1000)):
            return None
        first, *frames = self._socket.recv_multipart()
        try:
            deliver = wire.decode_deliver(first)
            event = decode_event(deliver.record)
        except (ValueError, msgspec.DecodeError) as error:
            self.n_rejected += 1
            logger.warning("message ignored: %s", error)
            return None
        if deliver.index < self._expected:
            return None
        if deliver.index > self._expected:
            logger.info("record %d missing: asking again", self._expected)
            self._close()
            return None
        self._expected += 1
        return Delivery(deliver.index, event, deliver.snapshot, frames)

    def is_stale(self) -> bool:
        """Return whether another trainer than the one we greeted is at work on the run."""
        return self._socket is not None and self._read_token() not in (None, self._token)

    def _read_token(self) -> str | None:
        try:
            return read_regular(self._folder.token).decode("ascii", "replace")
        except OSError:
            return None

    def _connect(self, cursor: int) -> bool:
        token = self._read_token()
        if token is None:
            return False
        self._token = token
        socket = self._context.socket(zmq.DEALER)
        socket.set(zmq.LINGER, 0)
        socket.set(zmq.HEARTBEAT_IVL, 2000)
        socket.set(zmq.HEARTBEAT_TIMEOUT, 10000)
        socket.set(zmq.RECONNECT_IVL, 50)
        socket.set(zmq.RECONNECT_IVL_MAX, 1000)
        socket.set(zmq.SNDHWM, 10)
        socket.set(zmq.IMMEDIATE, 1)
        if self._endpoint is None:
            socket.connect(self._folder.socket_address())
        else:
            socket.set(zmq.CURVE_SERVERKEY, self._endpoint.trainer_public)
            socket.set(zmq.CURVE_PUBLICKEY, self._endpoint.consumer_public)
            socket.set(zmq.CURVE_SECRETKEY, self._endpoint.consumer_secret)
            socket.connect(self._endpoint.address)
        self._socket, self._expected, self._asked = socket, cursor, None
        return True

    def _close(self, linger_ms: int = 0) -> None:
        if self._socket is not None:
            self._socket.close(linger_ms)
            self._socket = None
