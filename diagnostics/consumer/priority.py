"""How the diagnostics leave the processor to training, and yet never fall far behind.

Linux schedules sessions against each other first ("autogroups", sched(7)): in a session of its
own, a process of low priority gets as much of a core as training does in another. So it is the
session's priority that counts; it can be raised again without privileges, that of a process cannot.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

NICE = 10
AT_EASE = 19
"""Priority of the sessions while nothing waits: 1.5 % of a core that training wants too."""
BEHIND = 10
"""While loading, or with an epoch that waits for long: 10 % of a core."""
FAIR = 0
"""While loading for long, beside more training than there are cores: as much as one training.
Loading takes a second or two of processor time, once."""
LOADING_S = 5.0
"""What is long for loading."""
PROMPT_S, LATE_S = 1.0, 5.0
"""Age of an epoch that comes promptly, and of one that waits for long."""


@contextmanager
def low_priority() -> Iterator[None]:
    """Let training go first while this process loads; its children inherit it."""
    os.nice(NICE)
    set_session_nice(os.getpid(), BEHIND)
    timer = threading.Timer(LOADING_S, set_session_nice, (os.getpid(), FAIR))
    timer.daemon = True
    timer.start()
    yield
    timer.cancel()


def set_session_nice(pid: int, nice: int) -> bool:
    """Set the priority of a process's session; return whether the system did."""
    try:
        # Unprivileged processes may do so ten times a second, all of them together.
        Path(f"/proc/{pid}/autogroup").write_text(str(nice), encoding="ascii")
    except OSError:
        return False
    return True


class Priority:
    """The priority of the sessions of some processes, changed as seldom as possible."""

    def __init__(self) -> None:
        """Begin as behind: everything is being loaded."""
        self.nice = BEHIND
        self._applied: dict[int, int] = {}
        self._loading: threading.Timer | None = None

    def watch_loading(self, pid: int) -> None:
        """Give a process that still loads in `LOADING_S` its fair share, until `follow` is called.

        A timer does so, since whoever waits for an epoch's fields waits for the loading too.
        """
        self._loading = threading.Timer(LOADING_S, self._hurry, (pid,))
        self._loading.daemon = True
        self._loading.start()

    def _hurry(self, pid: int) -> None:
        if set_session_nice(pid, FAIR):
            self._applied[pid] = FAIR

    def follow(self, lag_s: float | None) -> None:
        """Choose the priority by the age of the epoch at work; None if nothing waits."""
        if self._loading is not None:
            self._loading.cancel()
        if lag_s is None or lag_s < PROMPT_S:
            self.nice = AT_EASE
        elif lag_s > LATE_S:
            self.nice = BEHIND

    def apply(self, pids: Iterable[int]) -> None:
        """Give the processes' sessions the priority; what is refused is tried again next time."""
        for pid in pids:
            if self._applied.get(pid) != self.nice and set_session_nice(pid, self.nice):
                self._applied[pid] = self.nice
