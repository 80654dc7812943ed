"""All runs: found, read at most once per change, judged. The part without screen or threads."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from monitord.facts import facts_of
from monitord.finding.roots import Root
from monitord.finding.sweeping import (
    NO_FILE,
    NO_FILES,
    Signatures,
    Sweep,
    Sweeper,
    display_name,
    signatures_in,
)
from monitord.liveness import is_alive
from monitord.reading.changes import read_changes
from monitord.reading.files import is_journal
from monitord.reading.runs import Run, Trouble
from monitord.states import Limits, judge

PROCESS_CHECK_S = 2.0
GRACE_S = 2.0
"""A file that is being written in place is broken for a moment; that is not yet trouble."""
_SAME_TICK_NS = 20_000_000


@dataclass(slots=True)
class _Tracked:
    """A run with what decides when to look at it again."""

    run: Run
    signature: Signatures = NO_FILES
    look_again: bool = False
    judged_version: int = -1
    judge_at: float = 0.0
    process_at: float = 0.0


@dataclass(slots=True)
class Tally:
    """What reading has cost so far.

    Attributes:
        n_readings: Files read.
        slowest_s: The slowest reading, in seconds.
        slowest: Its folder.
    """

    n_readings: int = 0
    slowest_s: float = 0.0
    slowest: str = ""


class Fleet:
    """The runs below some roots."""

    def __init__(
        self,
        roots: Iterable[Root],
        *,
        limits: Limits | None = None,
        grace_s: float = GRACE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Name the roots; ``grace_s``: seconds before a broken file is trouble."""
        self.roots = list(roots)
        self.sweeper = Sweeper(self.roots)
        self.limits = limits or Limits()
        self.tally = Tally()
        self.last_sweep: Sweep | None = None
        self.last_sweep_s = -math.inf
        self.n_sweeps = 0
        self.version = 0
        self._grace_s = grace_s
        self._clock = clock
        self._tracked: dict[str, _Tracked] = {}
        self._judged_version = -1
        self._judge_at = -math.inf

    @property
    def runs(self) -> list[Run]:
        """All runs, in order of their folders."""
        return [tracked.run for tracked in self._tracked.values()]

    def find(self, run_id: str) -> Run | None:
        """Return the run with the opaque name ``run_id``, or None."""
        return next((run for run in self.runs if run.id == run_id), None)

    def sweep(self) -> list[Run]:
        """Look at every folder; read what changed, forget what is gone; return changed runs."""
        collecting = gc.isenabled()
        gc.disable()  # decoding makes and drops dicts by the million, none of them in a cycle
        try:
            return self._sweep()
        finally:
            if collecting:
                gc.enable()

    def _sweep(self) -> list[Run]:
        sweep = self.sweeper.sweep()
        self.last_sweep, self.last_sweep_s = sweep, self._clock()
        self.n_sweeps += 1
        changed = []
        tops = {top for path, top in sweep.roots.items() if path != top}
        for path, signature in sweep.runs.items():
            tracked = self._tracked.get(path)
            if tracked is None:
                if signature[0] == NO_FILE and not is_journal(f"{path}/events.log"):
                    continue
                name = display_name(path, sweep.roots[path], len(tops))
                tracked = self._tracked[path] = _Tracked(Run(Path(path), name))
            if self._look(tracked, signature):
                changed.append(tracked.run)
        gone = [path for path in self._tracked if path not in sweep.folders]
        for path in gone:
            del self._tracked[path]
        for path, tracked in self._tracked.items():
            # Polling file systems show a replacement as delete and create: only the folder counts
            if path not in sweep.runs and self._look(tracked, NO_FILES):
                changed.append(tracked.run)
        if len(sweep.runs) and (gone or len(changed) > 1):
            self._tracked = dict(sorted(self._tracked.items()))
        self.version += bool(changed or gone)
        return changed

    def touch(self, folders: Iterable[str]) -> tuple[list[Run], set[str]]:
        """Look at the folders that events named.

        Returns:
            The runs that changed, and the folders that are no known run (a sweep will tell).
        """
        changed, unknown = [], set()
        for folder in folders:
            tracked = self._tracked.get(folder)
            if tracked is None:
                unknown.add(folder)
            elif self._look(tracked, signatures_in(folder)):
                changed.append(tracked.run)
        self.version += bool(changed)
        return changed, unknown

    def judge(self) -> list[Run]:
        """Bring every state up to date; return the runs whose state changed."""
        now = self._clock()
        if self.version == self._judged_version and now < self._judge_at:
            return []  # nothing was read, and no silence has become long enough
        changed = []
        for tracked in self._tracked.values():
            run = tracked.run
            due = run.version != tracked.judged_version or now >= tracked.judge_at
            process = run.standing.running_process
            if process is not None and now >= tracked.process_at:
                tracked.process_at = now + PROCESS_CHECK_S
                alive = is_alive(process)
                due = due or alive != run.process_alive
                run.process_alive = alive
            if not due:
                continue
            self._settle_trouble(tracked, now)
            facts = facts_of(run, now)
            verdict = judge(facts, self.limits)
            if verdict.state is not run.verdict.state or verdict.reason != run.verdict.reason:
                if verdict.state is not run.verdict.state:
                    changed.append(run)
                run.version += 1
                self.version += 1
            run.verdict = verdict
            tracked.judged_version = run.version
            pending = run.trouble_pending is not None and run.trouble is None
            tracked.judge_at = now + min(verdict.holds_s, self._grace_s if pending else math.inf)
        self._judged_version = self.version
        self._judge_at = min((self._next_judgement(t) for t in self._tracked.values()), default=now)
        return changed

    def _next_judgement(self, tracked: _Tracked) -> float:
        asks = tracked.run.standing.running_process is not None
        return min(tracked.judge_at, tracked.process_at) if asks else tracked.judge_at

    def _settle_trouble(self, tracked: _Tracked, now: float) -> None:
        pending = tracked.run.trouble_pending
        if pending is None:
            tracked.run.trouble = None
        elif tracked.run.trouble is not None or now - pending.since_s >= self._grace_s:
            tracked.run.trouble = pending

    def _look(self, tracked: _Tracked, signature: Signatures) -> bool:
        if signature == tracked.signature and not tracked.look_again:
            return False
        before, tracked.signature = tracked.signature, signature
        hidden = tracked.look_again
        started = time.perf_counter()
        wall_ns = time.time_ns()
        newest_ns = max(signature[0][1], signature[1][1])
        # Two writes within one tick of the file system's clock look alike: look once more
        racy = any(abs(wall_ns - changed_ns) < _SAME_TICK_NS for _, changed_ns, _ in signature)
        tracked.look_again = racy and signature != before
        changed, trouble = read_changes(tracked.run, before, signature, all_again=hidden)
        self._note_trouble(tracked.run, trouble)
        took = time.perf_counter() - started
        self.tally.n_readings += 1
        if took > self.tally.slowest_s:
            self.tally.slowest_s, self.tally.slowest = took, str(tracked.run.folder)
        now = self._clock()
        if changed or tracked.run.last_news_s == -math.inf:
            first = tracked.run.last_news_s == -math.inf
            age_s = max(0.0, (wall_ns - newest_ns) / 1e9) if first else 0.0
            tracked.run.note_arrival(now - age_s)
        return True

    def _note_trouble(self, run: Run, reason: str | None) -> None:
        if reason is None:
            if run.trouble_pending is not None:
                run.trouble_pending = run.trouble = None
                run.version += 1
        elif run.trouble_pending is None or run.trouble_pending.reason != reason:
            since_s, since = self._clock(), datetime.now(UTC).strftime("%H:%M:%S UTC")
            if run.trouble_pending is not None:
                since_s, since = run.trouble_pending.since_s, run.trouble_pending.since
            run.trouble_pending = Trouble(reason, since_s, since)
            run.version += 1
