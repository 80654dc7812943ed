"""The loop: hints and sweeps, reading, states, alerts, pictures, the screen. It runs for weeks.

One thread does all of it. Other threads only set flags: watchdog's handlers, the keyboard reader,
the delivery of alerts; drawing has a process of its own.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from monitord.finding.roots import Root
from monitord.finding.sweeping import pace_for
from monitord.finding.watching import Watcher
from monitord.fleet import Fleet
from monitord.reading.runs import Run
from monitord.states import Limits
from monitord.wakeup import Wakeup

logger = logging.getLogger(__name__)

SETTLE_S = 0.01
"""After a hint, wait this long for the rest of the burst."""
SUPERVISE_S = 3.0
TICK_S = 1.0


class Follower(Protocol):
    """Something that the loop keeps up to date: the screen, pictures, alerts, the status file.

    Attributes:
        due_at: When it wants to be told again even if nothing changes (monotonic seconds).
    """

    due_at: float

    def follow(self, fleet: Fleet, changed: Sequence[Run], now_s: float) -> None:
        """Take notice; called after every step, also when nothing changed."""

    def close(self) -> None:
        """End; called once, in reverse order of `Daemon.add`."""


@dataclass(slots=True)
class Health:
    """How the loop itself fares.

    Attributes:
        n_steps: Times around the loop.
        n_unwatched: Folders without a watch, since the limit is reached.
        n_faults: Failures that were caught, by a follower or a step.
        last_fault: The last of those, or None.
    """

    n_steps: int = 0
    n_unwatched: int = 0
    n_faults: int = 0
    last_fault: str | None = None


class Daemon:
    """Watches roots and keeps its followers up to date until it is stopped."""

    def __init__(
        self,
        roots: Sequence[Root],
        *,
        limits: Limits | None = None,
        interval_s: float | None = None,
        watch: bool = True,
    ) -> None:
        """Name the roots; ``interval_s``: seconds between sweeps, None for what they cost."""
        self.fleet = Fleet(roots, limits=limits)
        self.health = Health()
        self.interval_s = interval_s
        self._wakeup = Wakeup()
        self._stop = False
        self.reload_requested = False
        self.watcher = Watcher(list(roots), self._wakeup.set) if watch else None
        self._followers: list[Follower] = []
        self._sweep_at = -math.inf
        self._supervise_at = -math.inf
        self._n_overflows = 0
        self._pending: list[Run] = []
        self.sweep_interval_s = 0.0

    def add(self, follower: Follower) -> None:
        """Have ``follower`` told of every step."""
        self._followers.append(follower)

    def wake(self) -> None:
        """Make the loop take its next step now; safe from any thread and signal handler."""
        self._wakeup.set()

    def stop(self) -> None:
        """End the loop soon; safe from any thread and signal handler."""
        self._stop = True
        self._wakeup.set()

    def run(self, until: Callable[[], bool] | None = None) -> None:
        """Go round until `stop`, or until ``until()`` is true; then close the followers."""
        try:
            self.step()  # first the table, then the watching: large trees take a while to watch
            if self.watcher is not None and not self._stop:
                self.watcher.start()
                self._sweep_at = -math.inf  # what happened in between
            while not self._stop and not (until is not None and until()):
                if self._wakeup.sleep(self._pause()) and not self._stop:
                    time.sleep(SETTLE_S)
                self._wakeup.clear()
                if not self._stop:
                    self.step()
        finally:
            self.close()

    def step(self) -> list[Run]:
        """Do what is due once; return the runs that changed."""
        now = time.monotonic()
        self.health.n_steps += 1
        changed: dict[str, Run] = {}
        self._guarded(self._supervise, None)
        for run in (*self._guarded(self._follow_hints, []), *self._guarded(self._sweep_if_due, [])):
            changed[run.id] = run
        for run in self._guarded(self.fleet.judge, []):
            changed[run.id] = run
        runs = list(changed.values())
        for follower in self._followers:
            self._guarded(lambda: follower.follow(self.fleet, runs, now), None)  # noqa: B023
        self.reload_requested = False
        return runs

    def close(self) -> None:
        """End the watching and the followers; safe to call twice."""
        followers, self._followers = self._followers, []
        for follower in reversed(followers):
            self._guarded(follower.close, None)
        if self.watcher is not None:
            self.watcher.stop()
        self._wakeup.close()

    def _follow_hints(self) -> list[Run]:
        if self.watcher is None:
            return []
        folders, trees = self.watcher.hints.take()
        changed, unknown = self.fleet.touch(folders) if folders else ([], set())
        if self.watcher.n_overflows != self._n_overflows:
            self._n_overflows = self.watcher.n_overflows
            self._sweep_at = -math.inf
        if unknown or trees:
            self.fleet.sweeper.suspect(unknown | trees)
            # new folders come in bursts: one sweep for all of them, at the sweep's own cost
            soonest = self.fleet.last_sweep_s + 10 * self._sweep_cost()
            self._sweep_at = min(self._sweep_at, max(soonest, time.monotonic()))
        return changed

    def _supervise(self) -> None:
        now = time.monotonic()
        if self.watcher is None or now < self._supervise_at or self.health.n_steps == 1:
            return
        self._supervise_at = now + SUPERVISE_S
        if self.watcher.check():
            self._sweep_at = -math.inf

    def _sweep_if_due(self) -> list[Run]:
        now = time.monotonic()
        if now < self._sweep_at:
            return []
        changed = self.fleet.sweep()
        self._count_unwatched()
        remote = self.fleet.sweeper.is_remote or (
            self.watcher is not None and self.watcher.trouble is not None
        )
        pace = pace_for(remote, self.interval_s, self.health.n_unwatched)
        self.sweep_interval_s = pace.interval(self._sweep_cost())
        self._sweep_at = time.monotonic() + self.sweep_interval_s
        return changed

    def _sweep_cost(self) -> float:
        sweep = self.fleet.last_sweep
        return sweep.cpu_s if sweep is not None else 0.0

    def _count_unwatched(self) -> None:
        """Compare what the kernel watches with what exists: a refused watch is not reported."""
        sweep, watcher = self.fleet.last_sweep, self.watcher
        if sweep is None or watcher is None or not watcher.is_open:
            self.health.n_unwatched = 0
            return
        n_used = watcher.n_watches()
        if n_used is None:
            return
        before, self.health.n_unwatched = self.health.n_unwatched, 0
        if n_used < len(sweep.folders):
            self.health.n_unwatched = len(sweep.folders) - n_used
            if not before:
                logger.warning("%s", self.watch_trouble())

    def watch_trouble(self) -> str | None:
        """Return what cannot be seen, or is found by the sweep alone, and why; or None."""
        if (gone := self._gone()) is not None:
            return gone
        if self.watcher is None:
            return None
        if self.watcher.trouble is not None:
            return f"{self.watcher.trouble}; sweeping every {self.sweep_interval_s:.0f} s instead"
        if self.health.n_unwatched:
            return (
                f"{self.health.n_unwatched} folders are not watched (the limit of inotify watches"
                f" is reached); the sweep finds their changes. Remedy: raise"
                " fs.inotify.max_user_watches"
            )
        if self.fleet.sweeper.is_remote:
            kinds = {mount.kind for mount in self.fleet.sweeper.mounts.values() if mount.is_remote}
            return f"{', '.join(sorted(kinds))}: no events come from there; sweeping instead"
        return None

    def _gone(self) -> str | None:
        """Return which root or folder cannot be looked into."""
        for root in self.fleet.sweeper.roots:
            if root.pattern is None and not root.base.exists():
                return f"{root.given}: the folder is gone; waiting for it"
        sweep = self.fleet.last_sweep
        if sweep is None or not sweep.unreadable:
            return None
        path, reason = sweep.unreadable[0]
        more = f", and {len(sweep.unreadable) - 1} more" if len(sweep.unreadable) > 1 else ""
        return f"{path}: cannot be read ({reason}){more}"

    def _pause(self) -> float:
        due_at = min([self._sweep_at, *(follower.due_at for follower in self._followers)])
        return min(max(0.0, due_at - time.monotonic()), TICK_S)

    def _guarded(self, action: Callable[[], Any], fallback: Any) -> Any:
        """Run one part of a step: its failure is logged and must not end the others."""
        try:
            return action()
        except Exception as error:
            self.health.n_faults += 1
            self.health.last_fault = f"{type(error).__name__}: {error}"
            level = logging.ERROR if self.health.n_faults <= 20 else logging.DEBUG
            logger.log(level, "caught, going on: %s", self.health.last_fault, exc_info=True)
            return fallback
