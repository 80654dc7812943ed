"""Trials that wait for their windows, and the memory that they hold meanwhile. Units: bytes."""

from __future__ import annotations

from profiler.backend import Backend
from profiler.record import Record
from profiler.settings import Settings
from profiler.trial import LiveTrial
from trainer.config import ExperimentConfig


class Room:
    """Live trials by batch size, on the CPU together within the budget.

    Where it is too small for all of them, processes that wait are ended, the largest first, and
    started again for their next window: dear, but the windows stay interleaved. On a GPU every
    process keeps its weights and its CUDA context; nothing is ended there.
    """

    def __init__(
        self, config: ExperimentConfig, settings: Settings, backend: Backend, record: Record
    ) -> None:
        """Begin empty; ``record`` will know the device and its budget."""
        self.trials: dict[int, LiveTrial] = {}
        self._config = config
        self._settings = settings
        self._backend = backend
        self._record = record

    @property
    def is_crowded(self) -> bool:
        """Whether all trials at work at once would need more than the budget."""
        budget = self._record.budget_bytes
        return budget is not None and sum(_peak(t) for t in self.trials.values()) > budget

    def make(self, needed_bytes: int, besides: int | None = None) -> None:
        """End processes that wait, but not that of size ``besides``, until so much has room."""
        budget = self._record.budget_bytes
        if budget is None or self._record.device != "cpu":
            return
        waiting = {
            size: trial.process.resident_bytes()
            for size, trial in self.trials.items()
            if size != besides and trial.is_open
        }
        while waiting and needed_bytes + sum(waiting.values()) > budget:
            largest = max(waiting, key=waiting.__getitem__)
            self.trials[largest].close()
            del waiting[largest]

    def open(self, trial: LiveTrial) -> None:
        """Make room for a trial at work, and start its process again if it was ended.

        Raises:
            TrialFailure: It did not get as far again.
        """
        self.make(_peak(trial), besides=trial.record.batch_size)
        if not trial.is_open:
            trial.process, trial.is_open = self._backend.start(), True
            budget = self._record.budget_bytes
            trial.prepare(self._config, self._record.device, self._settings, budget)

    def close(self) -> None:
        """End all processes."""
        while self.trials:
            self.trials.popitem()[1].close()


def _peak(trial: LiveTrial) -> int:
    return trial.record.memory.peak_bytes if trial.record.memory is not None else 0
