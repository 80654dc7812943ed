"""A run's numbers as everybody else sees them: `take_snapshot` makes the `RunSeries` of a run."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeGuard

from monitord.reading.columns import Columns
from monitord.series import AT, BLOB_BIRTH, BLOB_COUNT, RunSeries

if TYPE_CHECKING:
    from monitord.reading.runs import Run

MAX_COUNT = 10**12
EPOCHS_KEYS = ("epochs", "n_epochs", "num_epochs", "max_epochs")


def take_snapshot(run: Run) -> RunSeries:
    """Return all numbers of a run; the arrays are the run's own, of shape (its epochs,)."""
    columns = run.columns
    return RunSeries(
        name=run.name,
        epochs=columns.epochs,
        values=columns.series(),
        nonfinite=columns.nonfinite(),
        at=columns.get(AT),
        began=run.standing.began,
        restarts=run.restarts,
        n_planned=run.planned_epochs(),
        config=run.config,
        born=_born(columns, run.n_written()),
        diagnostics_missing=_diagnostics_missing(columns, run.config),
        traces=run.traces.series(),
    )


def planned_by(config: dict[str, Any]) -> int | None:
    """Return how many epochs a configuration asks for, or None where it does not say."""
    training = config.get("training")
    for place in (training if isinstance(training, dict) else {}, config):
        for key in EPOCHS_KEYS:
            found = place.get(key)
            if is_count(found):
                return found
    return None


def is_count(value: Any) -> TypeGuard[int]:
    """Return whether a file's value is a number of epochs that can be meant."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MAX_COUNT


def _born(columns: Columns, n_written: int) -> int | None:
    """Return the birth as of the last epoch whose diagnostics are written."""
    births, counts = columns.get(BLOB_BIRTH), columns.get(BLOB_COUNT)
    if births is None or not n_written or not math.isfinite(births[n_written - 1]):
        return None
    if counts is not None and counts[n_written - 1] < 2:
        return None  # one blob is what every run begins with
    return int(births[n_written - 1])


def _diagnostics_missing(columns: Columns, config: dict[str, Any]) -> str | None:
    if any(name.startswith("diagnostics.") for name in columns.names()):
        return None
    training = config.get("training")
    if isinstance(training, dict) and training.get("enable_diagnostics") is False:
        return "diagnostics are off; set training.enable_diagnostics to true"
    return "no diagnostics in results.json"
