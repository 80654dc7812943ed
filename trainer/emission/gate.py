"""The gate: lets only diagnostics processes on the allow-list through (ZAP, CurveZMQ)."""

from __future__ import annotations

import logging
import threading
from types import TracebackType

import zmq
from zmq.utils import z85

logger = logging.getLogger(__name__)

POLL_MS = 100


class Gate:
    """Answers libzmq's question whether a client may connect (https://rfc.zeromq.org/spec/27/).

    It works inside a ``with`` block, which must end before the context does.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], allowed: frozenset[bytes]) -> None:
        """Take the questions of all sockets of ``context``; ``allowed``: public keys in Z85."""
        self._context = context
        self._allowed = frozenset(z85.decode(key) for key in allowed)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="gate", daemon=True)
        self._bound = threading.Event()
        self.n_refused = 0

    def __enter__(self) -> Gate:
        self._thread.start()
        self._bound.wait()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.set()
        self._thread.join()

    def _serve(self) -> None:
        with self._context.socket(zmq.REP) as questions:
            questions.set(zmq.LINGER, 0)
            questions.bind("inproc://zeromq.zap.01")
            self._bound.set()
            while not self._closing.is_set():
                if questions.poll(POLL_MS):
                    questions.send_multipart(self._answer(questions.recv_multipart()))

    def _answer(self, frames: list[bytes]) -> list[bytes]:
        version, request, _, address, _, mechanism, *credentials = frames
        if mechanism == b"CURVE" and credentials and credentials[0] in self._allowed:
            return [version, request, b"200", b"OK", b"", b""]
        self.n_refused += 1
        if self.n_refused in (1, 10, 100) or self.n_refused % 1000 == 0:
            logger.warning("%d connections refused; last: %s", self.n_refused, address.decode())
        return [version, request, b"400", b"not on the allow-list", b"", b""]
