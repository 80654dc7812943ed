"""Signals that end or reload the daemon."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from types import FrameType

from monitord.daemon import Daemon


def obey_signals(daemon: Daemon) -> Callable[[], None]:
    """Make SIGTERM and SIGINT stop the daemon and SIGHUP reload it; return how to undo that.

    A SIGHUP because the terminal was closed ends a daemon that showed its table there.
    """
    on_terminal = _has_terminal()

    def end(number: int, frame: FrameType | None) -> None:
        daemon.stop()

    def reload(number: int, frame: FrameType | None) -> None:
        if on_terminal and not _has_terminal():
            daemon.stop()
        else:
            daemon.reload_requested = True
            daemon.wake()

    handlers = {signal.SIGTERM: end, signal.SIGINT: end, signal.SIGHUP: reload}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}

    def undo() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    return undo


def _has_terminal() -> bool:
    """Return whether standard output is a terminal that is still there."""
    import termios

    try:
        termios.tcgetattr(sys.stdout.fileno())
    except (termios.error, OSError, ValueError):
        return False
    return True
