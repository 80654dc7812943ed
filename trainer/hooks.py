"""Hooks: what happens beside training, each a class with the methods that it cares for.

The emitter, the checkpointer and the progress display are hooks. Others are found by entry point
(group ``blobwatch.hooks``: a class that is called without arguments). A hook that raises is
named in the log and called again at the next event; training goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from importlib.metadata import entry_points

from diagnostics.contract.events import EpochEnded
from trainer.mixture import Mixture
from trainer.run import Outcome, Run

logger = logging.getLogger(__name__)
ENTRY_POINT_GROUP = "blobwatch.hooks"


class Hook:
    """Base of hooks; every method may be left out.

    All methods run in the training thread: what takes long holds up training.
    """

    def run_started(self, run: Run) -> None:
        """The network is ready and training is about to begin."""

    def trace_started(self, run: Run, mixture: Mixture) -> None:
        """A trace of stage two begins: ``run.model`` has a frozen encoder from ``mixture``."""

    def batch_ended(self, run: Run) -> None:
        """A step was taken; ``run.position.step`` steps of this epoch are done."""

    def epoch_ended(self, run: Run, event: EpochEnded) -> None:
        """An epoch was trained and evaluated; ``run.position`` is at the next one."""

    def run_finished(self, run: Run, outcome: Outcome) -> None:
        """Training ended in an orderly way: completed, interrupted, or failed with a reason."""

    def run_failed(self, run: Run, error: BaseException) -> None:
        """Training ended by an exception, which is raised on afterwards."""


class Hooks(Hook):
    """Calls hooks in order; one that raises is logged by name and costs its neighbours nothing."""

    def __init__(self, hooks: Iterable[Hook]) -> None:
        """Take the hooks in the order in which they are called."""
        self.hooks = tuple(hooks)
        self._batch_hooks = [h for h in self.hooks if type(h).batch_ended is not Hook.batch_ended]

    def run_started(self, run: Run) -> None:
        for hook in self.hooks:
            try:
                hook.run_started(run)
            except Exception:
                self._report(hook, "run_started")

    def trace_started(self, run: Run, mixture: Mixture) -> None:
        for hook in self.hooks:
            try:
                hook.trace_started(run, mixture)
            except Exception:
                self._report(hook, "trace_started")

    def batch_ended(self, run: Run) -> None:
        for hook in self._batch_hooks:
            try:
                hook.batch_ended(run)
            except Exception:
                self._report(hook, "batch_ended")

    def epoch_ended(self, run: Run, event: EpochEnded) -> None:
        for hook in self.hooks:
            try:
                hook.epoch_ended(run, event)
            except Exception:
                self._report(hook, "epoch_ended")

    def run_finished(self, run: Run, outcome: Outcome) -> None:
        for hook in self.hooks:
            try:
                hook.run_finished(run, outcome)
            except Exception:
                self._report(hook, "run_finished")

    def run_failed(self, run: Run, error: BaseException) -> None:
        for hook in self.hooks:
            try:
                hook.run_failed(run, error)
            except Exception:
                self._report(hook, "run_failed")

    @staticmethod
    def _report(hook: Hook, event: str) -> None:
        kind = type(hook)
        logger.exception("hook %s.%s failed at %s", kind.__module__, kind.__qualname__, event)


def installed_hooks() -> list[Hook]:
    """Return the hooks that installed packages bring; one that cannot be loaded is logged."""
    hooks: list[Hook] = []
    for point in entry_points(group=ENTRY_POINT_GROUP):
        try:
            hook = point.load()()
            if not isinstance(hook, Hook):
                raise TypeError("a hook derives from trainer.Hook")
            hooks.append(hook)
        except Exception:
            logger.exception("hook %s (%s) cannot be loaded", point.name, point.value)
    return hooks
