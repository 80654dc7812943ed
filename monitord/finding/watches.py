"""How many folders the kernel watches for this process, and how many it would."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def watches_used() -> int | None:
    """Return how many inotify watches this process holds, as the kernel counts, or None."""
    n_used = None
    try:
        descriptors = os.listdir("/proc/self/fd")
    except OSError:
        return None
    for descriptor in descriptors:
        try:
            if os.readlink(f"/proc/self/fd/{descriptor}") != "anon_inode:inotify":
                continue
            info = Path(f"/proc/self/fdinfo/{descriptor}").read_text()
        except OSError:
            continue
        n_used = (n_used or 0) + info.count("inotify wd:")
    return n_used


def watches_allowed() -> int | None:
    """Return how many inotify watches this user may hold: the least of the kernel's limits."""
    limits = []
    for path in ("/proc/sys/fs/inotify/max_user_watches", "/proc/sys/user/max_inotify_watches"):
        with contextlib.suppress(OSError, ValueError):
            limits.append(int(Path(path).read_text()))
    return min(limits) if limits else None
