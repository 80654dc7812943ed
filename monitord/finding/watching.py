"""Hints from the kernel: which folders may have changed since the last look.

Events make the monitor quick, never right: everything here may fail, lose events or die, and the
sweep still finds each change. Handlers put a path in a set and nothing else. Only the event kinds
that matter are subscribed to: with watchdog's default mask the monitor's own reading of files
would fill its queue.
"""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from monitord.finding.hints import EVENT_KINDS, Hints, OverflowCounter
from monitord.finding.roots import Root
from monitord.finding.watches import watches_allowed, watches_used

logger = logging.getLogger(__name__)

MAX_OBSERVED = 16
"""An observed folder costs a thread; beyond this number their parents are observed instead."""


@dataclass(frozen=True, slots=True)
class WatchReport:
    """What the watching amounts to.

    Attributes:
        back_end: Name of watchdog's back-end, or why there is none.
        n_used: Watches that the kernel holds for this process, or None if it does not tell.
        n_allowed: Watches allowed to this user, or None.
        n_overflows: Overflows of the event queue so far.
        n_restarts: Times that the observer was set up anew.
        n_events: Events that mattered.
        trouble: Why some or all folders are not watched, or None.
    """

    back_end: str
    n_used: int | None
    n_allowed: int | None
    n_overflows: int
    n_restarts: int
    n_events: int
    trouble: str | None


class Watcher:
    """Keeps an observer on every root; restarts it when it dies or looks at the wrong folder."""

    def __init__(self, roots: list[Root], wake: Callable[[], None]) -> None:
        """Name the roots and the function that wakes the loop; nothing is watched yet."""
        self.roots = roots
        self.hints = Hints(wake)
        self.n_restarts = 0
        self.trouble: str | None = None
        self._observer: BaseObserver | None = None
        self._observed: dict[str, tuple[int, int]] = {}
        self._counter = OverflowCounter(wake)
        self._logger = logging.getLogger("watchdog.observers")

    def start(self) -> None:
        """Begin; a failure is noted in `trouble`, never raised."""
        if self._counter not in self._logger.handlers:
            self._logger.addHandler(self._counter)
            self._logger.propagate = False  # its words would run over the table
        # watchdog warns when a new folder is reported twice, which is harmless; as an error, or as
        # words across the table, it would not be
        warnings.filterwarnings("ignore", "Callback with id", RuntimeWarning)
        self._open()

    def stop(self) -> None:
        """End; may be called twice."""
        self._close()
        self._logger.removeHandler(self._counter)
        self._logger.propagate = True

    def check(self) -> bool:
        """Set everything up anew if something died or a root was replaced; return whether so."""
        fault = self._fault()
        if fault is None:
            return False
        logger.info("watching anew: %s", fault)
        self.n_restarts += 1
        self._close()
        self._open()
        return True

    def report(self) -> WatchReport:
        """Return what `doctor` and the foot of the table tell."""
        observer = self._observer
        back_end = type(observer).__name__ if observer is not None else "none (sweep only)"
        return WatchReport(
            back_end,
            watches_used(),
            watches_allowed(),
            self._counter.n_overflows,
            self.n_restarts,
            self.hints.n_events,
            self.trouble,
        )

    @property
    def is_open(self) -> bool:
        """Whether there is an observer at work."""
        return self._observer is not None

    def n_watches(self) -> int | None:
        """Return how many folders are watched, hidden ones left out; None if unknown."""
        observer = self._observer
        if observer is None:
            return None
        n_watched = 0
        for emitter in observer.emitters:
            # watchdog tells only here which folders it could watch; the kernel's own count, which
            # includes hidden folders, is an upper bound where that is not to be had
            group = getattr(emitter, "_inotify", None)
            paths = getattr(group, "_active_callbacks_by_path", None)
            if paths is None:
                return watches_used()
            n_base = len(os.fsencode(emitter.watch.path))
            n_watched += sum(b"/." not in path[n_base:] for path in list(paths))
        return n_watched

    @property
    def n_overflows(self) -> int:
        """Overflows of the kernel's event queue so far."""
        return self._counter.n_overflows

    def _fault(self) -> str | None:
        wanted = _targets(self.roots)
        if self._observer is None:
            return "no observer" if wanted else None
        if not self._observer.is_alive():
            return "the observer died"
        if any(not emitter.is_alive() for emitter in self._observer.emitters):
            return "an emitter died"
        reader = getattr(self._observer, "_inotify_fd", None)
        if reader is not None and hasattr(reader, "is_alive") and not reader.is_alive():
            return "the reader of events died"
        if wanted != self._observed:
            return "the watched folders were replaced"
        return None

    def _open(self) -> None:
        self.trouble = None
        self._observed = wanted = _targets(self.roots)
        observer: BaseObserver | None = None
        try:
            observer = Observer()
            observer.start()
            for path in wanted:
                observer.schedule(self.hints, path, recursive=True, event_filter=EVENT_KINDS)
        except (OSError, RuntimeError) as error:
            self.trouble = f"no events: {error.args[-1] if error.args else error}"
            if observer is not None:
                _end(observer)
            observer = None
        self._observer = observer

    def _close(self) -> None:
        observer, self._observer = self._observer, None
        if observer is not None:
            _end(observer)


def _end(observer: BaseObserver) -> None:
    with contextlib.suppress(Exception):
        observer.unschedule_all()
    with contextlib.suppress(Exception):
        observer.stop()
    with contextlib.suppress(Exception):
        observer.join(1.0)


def _targets(roots: list[Root]) -> dict[str, tuple[int, int]]:
    """Return the folders to observe, links resolved, each with its device and inode."""
    wanted: set[str] = set()
    for root in roots:
        # A pattern's parent is observed, for runs that are yet to come
        wanted.add(os.path.realpath(root.base))
    while len(wanted) > MAX_OBSERVED:
        counts = Counter(os.path.dirname(path) for path in wanted)
        parent, n_children = counts.most_common(1)[0]
        if n_children == 1:
            break
        wanted = {path for path in wanted if os.path.dirname(path) != parent} | {parent}
    targets: dict[str, tuple[int, int]] = {}
    for path in sorted(wanted)[:MAX_OBSERVED]:
        if any(path.startswith(f"{other.rstrip('/')}/") for other in targets):
            continue
        try:
            status = os.stat(path)
        except OSError:
            continue
        targets[path] = (status.st_dev, status.st_ino)
    return targets
