"""Speed measured side by side: trained trials take turns at short windows.

Units: seconds, bytes, operations a second.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from profiler.backend import Backend
from profiler.measure import MIN_WINDOWS, has_settled, uncontended
from profiler.plan import round_order
from profiler.room import Room
from profiler.settings import Settings
from profiler.status import TrialFailure
from profiler.trial import LiveTrial

PHASES_S = 0.25
QUIET_WAIT_S = 0.2


class Rounds:
    """Trials by batch size; one that fails is taken out, and the others go on."""

    def __init__(self, room: Room, settings: Settings, backend: Backend) -> None:
        """Take over the trials in ``room``: those that fail are removed from it."""
        self._room = room
        self._trials = room.trials
        self._settings = settings
        self._backend = backend

    def measure_windows(self, advance: Callable[[float, str], None]) -> None:
        """Interleave windows until their noise has settled or the time is spent.

        Args:
            advance: Told the share that is done, and what is at work.
        """
        for trial in self._trials.values():
            trial.record.windows = []
        started = time.monotonic()
        number, spent = 0, 0.0
        while self._trials and not (number >= MIN_WINDOWS and self._is_enough(spent)):
            share = min(1.0, number / MIN_WINDOWS, spent / self._settings.windows_s)
            advance(share, f"interleaved windows, round {number + 1}")
            for size in round_order(sorted(self._trials), number):
                with self._judged(size) as trial:
                    self._take_window(trial, number)
            number += 1
            spent = time.monotonic() - started

    def measure_phases(self) -> None:
        """Find out where the time of each size's step goes."""
        for size in sorted(self._trials):
            with self._judged(size) as trial:
                trial.record.phases = trial.phases(PHASES_S)

    def measure_products(self) -> float | None:
        """Return the machine's rate of matrix products, None without a trial to measure it."""
        for size in sorted(self._trials):
            with self._judged(size) as trial:
                return trial.products()
        return None

    def _take_window(self, trial: LiveTrial, number: int) -> None:
        self._backend.wait_for_cores(trial.record.threads, QUIET_WAIT_S)
        window = trial.window(number, self._settings.window_s)
        trial.record.windows = [*trial.record.windows, window]
        if self._room.is_crowded:
            # All of them together are above the budget: none keeps its buffers while it waits.
            trial.park()

    def _is_enough(self, spent_s: float) -> bool:
        """Say whether the windows' noise has settled, or their time is spent."""
        pairs = [(t.record.windows, t.record.threads) for t in self._trials.values()]
        if all(has_settled(windows, threads) for windows, threads in pairs):
            return True
        # A busy machine gets more time: quiet moments may come.
        busy = any(sum(uncontended(*pair)) < MIN_WINDOWS for pair in pairs)
        limit_s = self._settings.busy_windows_s if busy else self._settings.windows_s
        return spent_s >= limit_s

    @contextlib.contextmanager
    def _judged(self, size: int) -> Iterator[LiveTrial]:
        """Give a trial; when it fails, note the verdict and let the others go on."""
        trial = self._trials[size]
        try:
            self._room.open(trial)
            yield trial
        except TrialFailure as failure:
            trial.fail(failure)
            self._trials.pop(size).close()
