"""What the operating system says about competition for the cores. Units: seconds."""

from __future__ import annotations

import os
import time
from pathlib import Path

from profiler import cgroups

QUIET_POLL_S = 0.004
PROC = Path("/proc")


def waited_s(pid: int, proc: Path = PROC) -> float | None:
    """Return how long the process's threads were ready to run but had no core, so far.

    The second figure of ``/proc/PID/task/TID/schedstat`` (Linux, Documentation/scheduler/
    sched-stats); None where the kernel does not keep it.
    """
    total = 0
    try:
        threads = list((proc / str(pid) / "task").iterdir())
        for thread in threads:
            try:
                total += int((thread / "schedstat").read_text().split()[1])
            except FileNotFoundError:
                if not thread.exists():
                    continue  # The thread ended in between.
                return None
    except (OSError, ValueError, IndexError):
        return None
    return total / 1e9


def stolen_s(root: Path = Path("/")) -> float:
    """Return the time that a hypervisor (steal) or a CPU quota (throttling) took so far.

    Args:
        root: Where ``proc`` and ``sys`` are; another folder in tests.
    """
    # Each group counts what its own quota took.
    throttled = (_throttled_s(folder) for _, folder in cgroups.folders("cpu", root))
    return _steal_s(root / "proc") + sum(throttled)


def _steal_s(proc: Path) -> float:
    try:
        first = (proc / "stat").read_text().splitlines()[0].split()
        return int(first[8]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return 0.0


def _throttled_s(folder: Path) -> float:
    """Read ``throttled_usec`` of cgroup v2, or ``throttled_time`` (ns) of v1."""
    try:
        lines = (folder / "cpu.stat").read_text().splitlines()
        pairs = dict(line.split() for line in lines)
        return int(pairs.get("throttled_usec", 0)) / 1e6 + int(pairs.get("throttled_time", 0)) / 1e9
    except (OSError, ValueError):
        return 0.0


def wait_for_cores(threads: int, limit_s: float, proc: Path = PROC) -> bool:
    """Wait until so many cores are free of others, at most ``limit_s``; return whether they are.

    On a machine with bursts of other work this finds the gaps, without using a core itself.
    """
    deadline = time.monotonic() + limit_s
    while (free := free_cores(proc)) is not None and free < threads:
        if time.monotonic() >= deadline:
            return False
        time.sleep(QUIET_POLL_S)
    return True


def free_cores(proc: Path = PROC) -> int | None:
    """Return the cores without a runnable task other than ours, from ``/proc/loadavg``."""
    try:
        runnable = int((proc / "loadavg").read_text().split()[3].partition("/")[0])
    except (OSError, ValueError, IndexError):
        return None
    # One of the runnable tasks is this one, reading the file.
    return (os.cpu_count() or 1) - max(0, runnable - 1)


def kernel_kills(proc: Path = PROC) -> int | None:
    """Return how many processes the kernel killed for memory since it started, None if unknown."""
    try:
        for line in (proc / "vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    except (OSError, ValueError):
        pass
    return None
