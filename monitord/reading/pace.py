"""How long a run's epochs take: by its own timing, or by when its data came."""

from __future__ import annotations

import itertools
from collections import deque

import numpy as np

from monitord.reading.columns import Columns
from monitord.states import RECENT_EPOCHS

N_ARRIVALS = 32


class Pace:
    """Seconds per epoch of one run."""

    def __init__(self) -> None:
        """Begin with nothing known."""
        self._arrivals: deque[tuple[float, int]] = deque(maxlen=N_ARRIVALS)
        self._told: tuple[int, tuple[float, float] | None] | None = None

    def note_arrival(self, now_s: float, epoch: int) -> None:
        """Remember that ``epoch`` came at ``now_s`` by the monitor's clock."""
        if not self._arrivals or self._arrivals[-1][1] != epoch:
            self._arrivals.append((now_s, epoch))

    def forget(self) -> None:
        """Drop the arrivals: the run starts over."""
        self._arrivals.clear()

    def seconds(self, columns: Columns, version: int) -> tuple[float | None, float | None]:
        """Return the median seconds per epoch, and the mean of the last few; None if unknown.

        Args:
            columns: The run's numbers.
            version: One more with every change of them.
        """
        if self._told is None or self._told[0] != version:
            self._told = (version, _timed(columns))
        return self._told[1] or self._observed()

    def _observed(self) -> tuple[float | None, float | None]:
        paces = [
            (later[0] - sooner[0]) / (later[1] - sooner[1])
            for sooner, later in itertools.pairwise(self._arrivals)
            if later[1] > sooner[1] and later[0] > sooner[0]
        ]
        if not paces:
            return None, None
        return float(np.median(paces)), float(np.mean(paces[-RECENT_EPOCHS:]))


def _timed(columns: Columns) -> tuple[float, float] | None:
    """Return the pace that the run itself measured, or None."""
    train = columns.get("timing.train_seconds")
    if train is None:
        return None
    test = columns.get("timing.test_seconds")
    total = train if test is None else train + np.where(np.isfinite(test), test, 0.0)
    finite = total[np.isfinite(total)]
    if not finite.size:
        return None
    return float(np.median(finite)), float(np.mean(finite[-RECENT_EPOCHS:]))
