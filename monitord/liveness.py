"""Whether the process of a run lives: asked of the kernel, on the same host only."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from functools import cache
from typing import Any

START_TOLERANCE_S = 2.0
"""The kernel counts a process's start in clock ticks since boot: two readings differ a little."""


@dataclass(frozen=True, slots=True)
class Process:
    """A training process, as its run recorded it.

    Attributes:
        host: Network name of its machine.
        pid: Process number there.
        started_at: Start, seconds since 1970 (UTC); None if it was not recorded.
    """

    host: str
    pid: int
    started_at: float | None


def parse_process(found: Any) -> Process | None:
    """Return the process that ``{"host": ..., "pid": ..., "started_at": ...}`` names, or None."""
    if not isinstance(found, dict):
        return None
    host, pid, started_at = found.get("host"), found.get("pid"), found.get("started_at")
    if not isinstance(host, str) or not isinstance(pid, int) or not 0 < pid < 2**31:
        return None
    numeric = isinstance(started_at, int | float) and not isinstance(started_at, bool)
    return Process(host, pid, float(started_at) if numeric else None)  # type: ignore[arg-type]


@cache
def this_host() -> str:
    """Return the network name of this machine."""
    return socket.gethostname()


def is_alive(process: Process) -> bool | None:
    """Return whether ``process`` lives, or None if it is on another host or cannot be asked."""
    if process.host != this_host():
        return None
    import psutil

    try:
        candidate = psutil.Process(process.pid)
        if candidate.status() == psutil.STATUS_ZOMBIE:
            return False
        created_at = candidate.create_time()
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return None
    if process.started_at is None:
        return True
    return bool(abs(created_at - process.started_at) <= START_TOLERANCE_S)
