"""A profile from the first trial to the last window; the record grows as it goes.

Units: seconds, bytes, samples.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from profiler import memory
from profiler.backend import Backend
from profiler.limits import find_largest
from profiler.plan import Rule, jobs, learning_rate
from profiler.profiles import lacked_memory
from profiler.progress import Progress, Work
from profiler.record import LimitRecord, Record, TrialRecord
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
        self._live: dict[int, LiveTrial] = {}
        self._jobs = jobs(sizes, settings.rules, config.training.batch_size)
        self._work = Work(progress, len(self._jobs), settings.test_epochs)

    def run(self) -> None:
        """Run everything; processes are gone afterwards, however this ends."""
        try:
            for i, (size, rule) in enumerate(self._jobs):
                named = "" if rule == "constant" else f", {rule} rule"
                self._work.trial_begins(i, f"batch size {size:,}{named}")
                self._try(size, rule)
                self._changed()
            rounds = Rounds(self._live, self.settings, self.backend, self.record.budget_bytes)
            rounds.measure_windows(self._work.windows)
            rounds.measure_phases()
            self.record.flops_per_s = rounds.measure_products()
            self._changed()
            if self.settings.find_limit:
                self._close()
                self._work.windows(1.0, "largest size that fits")
                self.record.limit = self._find_limit()
            self._work.windows(1.0, "done")
        finally:
            self._close()

    def _try(self, size: int, rule: Rule) -> None:
        """Run one trial to its verdict; nothing that happens to it stops the others."""
        earlier = self.record.trial(size, rule)
        done = earlier is not None and earlier.status == "completed"
        if done and rule != "constant":
            return
        predicted = self._predict(size)
        if not done and self._is_too_large(predicted):
            self._put(self._refused(size, rule, predicted))
            return
        trial = new_trial(self.backend, self.config, size, rule, self.settings.timeout_s)
        if done and earlier is not None:
            trial.record = earlier
        else:
            trial.record.predicted_bytes = predicted
        measured = trial.record.memory
        self._put(trial.record)
        keep = False
        try:
            self._describe(trial)
            trial.prepare(self.config, self.record.device, self.settings, self.record.budget_bytes)
            if done:  # the peak of the whole trial, not of the first steps alone
                trial.record.memory = measured
            else:
                trial.train(self.settings.n_epochs, self.settings, self._work.epoch_ended)
            trial.record.error_message = None
            if rule == "constant":
                trial.park()
                self._live[size] = trial
                keep = True
        except TrialFailure as failure:
            trial.fail(failure)
        finally:
            if not keep:
                trial.process.close()

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

    def _predict(self, size: int) -> int | None:
        """Predict a size's peak from the trials so far, or its least before there are two."""
        seen = [
            (t.batch_size, t.memory.peak_bytes)
            for t in self.record.trials
            if t.memory is not None and t.status == "completed"
        ]
        model = memory.fit_memory(seen)
        if model is None:
            bases = [t.base_bytes for t in self.record.trials if t.base_bytes is not None]
            if not bases:
                return None
            data, hidden = self.config.data, self.config.model.hidden_size
            model = memory.floor_model(data.d, hidden, data.sparsity, max(bases))
        return model.peak_bytes(size)

    def _is_too_large(self, predicted: int | None) -> bool:
        budget = self.record.budget_bytes
        # A GPU out of memory hurts nobody; a host is never driven there unless that is asked for.
        careful = self.record.device == "cpu" and not self.settings.try_oversized
        return careful and predicted is not None and budget is not None and predicted > budget

    def _refused(self, size: int, rule: Rule, predicted: int | None) -> TrialRecord:
        assert predicted is not None and self.record.budget_bytes is not None
        return TrialRecord(
            batch_size=size,
            rule=rule,
            learning_rate=learning_rate(self.config, size, rule),
            status="too_large",
            predicted_bytes=predicted,
            error_message=f"not tried: predicted {predicted / 1e9:.2f} GB, above the budget of"
            f" {self.record.budget_bytes / 1e9:.2f} GB",
        )

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
                largest=None, probes=[], predicted=None, reason="no memory limit is known"
            )
        return find_largest(
            self._probe, seen, min(failed, default=None), budget, self.config.data.n_train
        )

    def _probe(self, size: int) -> int | None:
        """Return the peak of a fresh process that took a few steps, None where it did not fit."""
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
            trial.process.close()

    def _close(self) -> None:
        while self._live:
            self._live.popitem()[1].process.close()
