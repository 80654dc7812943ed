"""The gate: lets only diagnostics processes on the allow-list through (ZAP, CurveZMQ)."""

from __future__ import annotations

import logging
import threading

import zmq
from zmq.utils import z85

logger = logging.getLogger(__name__)


class Gate(threading.Thread):
    """Answers libzmq's question whether a client may connect (https://rfc.zeromq.org/spec/27/).

    It ends with the context.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], allowed: frozenset[bytes]) -> None:
        """Take the questions of all sockets of ``context``; ``allowed``: public keys in Z85."""
        super().__init__(name="gate", daemon=True)
        self._allowed = frozenset(z85.decode(key) for key in allowed)
        self._questions = context.socket(zmq.REP)
        self._questions.set(zmq.LINGER, 0)
        self._questions.bind("inproc://zeromq.zap.01")
        self.n_refused = 0

    def run(self) -> None:
        """Answer until the context is terminated."""
        with self._questions:
            while True:
                try:
                    self._answer(self._questions.recv_multipart())
                except zmq.ContextTerminated:
                    return

    def _answer(self, frames: list[bytes]) -> None:
        version, request, _, address, _, mechanism, *credentials = frames
        if mechanism == b"CURVE" and credentials and credentials[0] in self._allowed:
            answer = [version, request, b"200", b"OK", b"", b""]
        else:
            self.n_refused += 1
            if self.n_refused in (1, 10, 100) or self.n_refused % 1000 == 0:
                logger.warning("%d connections refused; last: %s", self.n_refused, address.decode())
            answer = [version, request, b"400", b"not on the allow-list", b"", b""]
        self._questions.send_multipart(answer)
