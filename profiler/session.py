"""A profile from the first trial to the last window; the record grows as it goes.

Units: seconds, bytes, samples.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from profiler import memory
from profiler.backend import Backend
from profiler.limits import MAX_PROBES, find_largest
from profiler.plan import Rule, jobs, learning_rate
from profiler.prediction import Prediction, predict
from profiler.profiles import lacked_memory
from profiler.progress import Progress, Work
from profiler.record import LimitRecord, Record, TrialRecord
from profiler.room import Room
from profiler.rounds import Rounds
from profiler.settings import Settings
from profiler.status import TrialFailure
from profiler.trial import LiveTrial, describe, new_trial
from trainer.config import ExperimentConfig

logger = logging.getLogger(__name__)


class Session:
    """Runs trials against a back-end."""

    def __init__(
        self,
        config: ExperimentConfig,
        sizes: Sequence[int],
        settings: Settings,
        backend: Backend,
        record: Record,
        progress: Progress,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepare; ``changed`` is called whenever the record has something new to save."""
        self.config = config
        self.settings = settings
        self.backend = backend
        self.record = record
        self._changed = changed
        self._room = Room(config, settings, backend, record)
        self._jobs = jobs(sizes, settings.rules, config.training.batch_size)
        n_probes = MAX_PROBES if settings.find_limit else 0
        self._work = Work(progress, len(self._jobs), settings.test_epochs, n_probes)

    def run(self) -> None:
        """Run everything; processes are gone afterwards, however this ends."""
        try:
            for i, (size, rule) in enumerate(self._jobs):
                named = "" if rule == "constant" else f", {rule} rule"
                self._work.trial_begins(i, f"batch size {size:,}{named}")
                self._try(size, rule)
                self._changed()
            rounds = Rounds(self._room, self.settings, self.backend)
            rounds.measure_windows(self._work.windows)
            rounds.measure_phases()
            self.record.flops_per_s = rounds.measure_products()
            self._changed()
            if self.settings.find_limit:
                self._room.close()
                self.record.limit = self._find_limit()
            self._work.ends()
        finally:
            self._room.close()

    def _try(self, size: int, rule: Rule) -> None:
        """Run one trial to its verdict; nothing that happens to it stops the others."""
        earlier = self.record.trial(size, rule)
        done = earlier is not None and earlier.status == "completed"
        if done and rule != "constant":
            return
        predicted = predict(self.record, self.config, size)
        if not done and predicted is not None and self._is_too_large(predicted):
            self._put(self._refused(size, rule, predicted))
            return
        if predicted is not None:
            self._room.make(predicted.n_bytes)
        trial = new_trial(self.backend, self.config, size, rule, self.settings.timeout_s)
        if done and earlier is not None:
            trial.record = earlier
        else:
            _note(trial.record, predicted)
        self._put(trial.record)
        keep = False
        try:
            self._describe(trial)
            trial.prepare(self.config, self.record.device, self.settings, self.record.budget_bytes)
            if not done:
                trial.train(self.settings.n_epochs, self.settings, self._work.epoch_ended)
            trial.record.error_message = None
            if rule == "constant":
                trial.park()
                self._room.trials[size] = trial
                keep = True
        except TrialFailure as failure:
            trial.fail(failure)
        finally:
            if not keep:
                trial.close()

    def _describe(self, trial: LiveTrial) -> None:
        """Learn the device from the first trial, and from that the memory budget."""
        asked = self.settings.device or self.config.data.device
        found = describe(trial, asked)
        if self.record.budget_bytes is not None:
            return
        self.record.device, self.record.device_name = found.device, found.device_name
        if found.device == "cpu" and asked != "cpu":
            logger.warning("no GPU for device %r: measuring on the CPU", asked)
        if self.settings.memory_budget_bytes is not None:
            self.record.budget_bytes = self.settings.memory_budget_bytes
            self.record.budget_source = "as asked"
            return
        free = memory.host_available()
        if found.free_bytes is not None:
            free = memory.Available(found.free_bytes, "free GPU memory")
        if free is not None:
            self.record.budget_bytes = int(memory.BUDGET_SHARE * free.n_bytes)
            self.record.budget_source = f"{memory.BUDGET_SHARE:.0%} of {free.source}"

    def _is_too_large(self, predicted: Prediction) -> bool:
        budget = self.record.budget_bytes
        # A GPU out of memory hurts nobody; a host is never driven there unless that is asked for.
        careful = self.record.device == "cpu" and not self.settings.try_oversized
        return careful and budget is not None and predicted.n_bytes > budget

    def _refused(self, size: int, rule: Rule, predicted: Prediction) -> TrialRecord:
        assert self.record.budget_bytes is not None
        refused = TrialRecord(
            batch_size=size,
            rule=rule,
            learning_rate=learning_rate(self.config, size, rule),
            status="too_large",
            error_message=f"not tried: {predicted}, above the budget of"
            f" {self.record.budget_bytes / 1e9:.2f} GB",
        )
        _note(refused, predicted)
        return refused

    def _put(self, trial: TrialRecord) -> None:
        kept = [
            t
            for t in self.record.trials
            if (t.batch_size, t.rule) != (trial.batch_size, trial.rule)
        ]
        self.record.trials = sorted([*kept, trial], key=lambda t: (t.rule, t.batch_size))

    def _find_limit(self) -> LimitRecord:
        seen = {
            t.batch_size: t.memory.peak_bytes
            for t in self.record.trials
            if t.memory is not None and t.status == "completed"
        }
        failed = [t.batch_size for t in self.record.trials if lacked_memory(t)]
        budget = self.record.budget_bytes
        if budget is None:
            return LimitRecord(
                largest=None,
                probes=[],
                predicted=None,
                refused=None,
                reason="no memory limit is known",
            )
        return find_largest(
            self._probe, seen, min(failed, default=None), budget, self.config.data.n_train
        )

    def _probe(self, size: int) -> int | None:
        """Return the peak of a fresh process that took a few steps, None where it did not fit."""
        self._work.probe_begins(f"largest size that fits: {size:,}?")
        trial = new_trial(self.backend, self.config, size, "constant", self.settings.timeout_s)
        try:
            self._describe(trial)
            trial.prepare(self.config, self.record.device, self.settings, self.record.budget_bytes)
            used = trial.record.memory
            assert used is not None
            return used.peak_bytes
        except TrialFailure as failure:
            trial.fail(failure)
            if lacked_memory(trial.record):
                return None
            raise
        finally:
            trial.close()


def _note(trial: TrialRecord, predicted: Prediction | None) -> None:
    if predicted is not None:
        trial.predicted_bytes = predicted.n_bytes
        trial.predicted_is_minimum = predicted.is_minimum
