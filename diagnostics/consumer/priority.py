"""How the diagnostics leave the processor to training."""

from __future__ import annotations

import contextlib
import os

LOWEST_NICE = 19
AUTOGROUP = "/proc/self/autogroup"


def give_way() -> None:
    """Take only time that nobody else wants, where possible; child processes inherit it."""
    os.nice(LOWEST_NICE)
    if hasattr(os, "SCHED_IDLE"):
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    give_way_as_session()


def give_way_as_session() -> None:
    """Give this process's session the priority of the process.

    Linux schedules sessions against each other first ("autogroups", sched(7)): in a session of its
    own, a process of the lowest priority gets as much of a core as training does in another.
    """
    with contextlib.suppress(OSError), open(AUTOGROUP, "w", encoding="ascii") as file:
        file.write(str(max(0, os.getpriority(os.PRIO_PROCESS, 0))))
