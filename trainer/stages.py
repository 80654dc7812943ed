"""The stages of a run, from the first event to the last."""

from __future__ import annotations

from trainer.hooks import Hook
from trainer.loop import Stop, train
from trainer.run import Outcome, Run


def train_stages(run: Run, hooks: Hook, stop: Stop, *, allow_nonfinite: bool = False) -> Outcome:
    """Train what the configuration asks for and tell the hooks how it ended.

    Raises:
        BaseException: Whatever training raises, after the hooks were told.
    """
    hooks.run_started(run)
    try:
        outcome = train(run, hooks, stop, allow_nonfinite=allow_nonfinite)
    except BaseException as error:
        hooks.run_failed(run, error)
        raise
    hooks.run_finished(run, outcome)
    return outcome
