"""What the loop sleeps on: set by other threads and by signal handlers at any moment."""

from __future__ import annotations

import contextlib
import selectors
import socket


class Wakeup:
    """A flag to sleep on that a signal handler may set.

    A `threading.Event` may not: its lock is not reentrant, and a handler that interrupts the main
    thread while that holds it waits for ever. Here setting is one system call on a pair of
    sockets, without a lock.
    """

    def __init__(self) -> None:
        """Open the pair; `close` it in the end."""
        self._receiving, self._sending = socket.socketpair()
        self._receiving.setblocking(False)
        self._sending.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._receiving, selectors.EVENT_READ)

    def set(self) -> None:
        """End the sleep, the present one or else the next; does nothing after `close`."""
        with contextlib.suppress(OSError):  # full: it is set already
            self._sending.send(b"!")

    def sleep(self, seconds: float) -> bool:
        """Sleep until set, at most ``seconds``; return whether it was set."""
        return bool(self._selector.select(seconds))

    def clear(self) -> None:
        """Forget what was set so far."""
        with contextlib.suppress(OSError):  # empty
            while len(self._receiving.recv(4096)) == 4096:
                pass

    def close(self) -> None:
        """Close the pair; further calls do nothing."""
        self._selector.close()
        self._receiving.close()
        self._sending.close()
