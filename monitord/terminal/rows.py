"""What is shown of a run: one row of numbers, for the table, JSON, filters and the page."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from monitord.facts import facts_of
from monitord.reading.histories import TRAIN_NAMES
from monitord.reading.runs import Run
from monitord.series import (
    BLOB_CORRELATION,
    BLOB_COUNT,
    BLOB_SILHOUETTE,
    SAMPLED_CORRELATION,
    SAMPLED_COUNT,
    SAMPLED_SILHOUETTE,
    SEPARATION,
    Floats,
)
from monitord.states import ENDED, State, time_left

SPARK_WIDTH = 12
_STUCK = frozenset({State.STALLED, State.UNREADABLE})
_SILENT_S, _SILENT_EPOCHS = 60.0, 5.0
"""After so long a silence nobody can say when a run will end, whatever else its state is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One run at one moment.

    Attributes:
        id: Opaque name of the run.
        name: Name in tables; may hold any character.
        folder: Its folder.
        state: Its state.
        reason: Why.
        epoch: Last epoch, 0 if there is none.
        n_planned: Epochs that it shall have, or None.
        loss_name: Which loss the loss fields tell, or None.
        loss_last: Last loss, or None where it is not finite.
        loss_best: Least loss, or None.
        loss_best_epoch: The epoch of that, or None.
        train_last: Last training loss, or None.
        n_blobs: Blobs by all pairs; where only the guide's sampled count exists, that.
        n_blobs_sampled: Whether ``n_blobs`` is the sampled count.
        separation: Separation of the blobs, or None.
        silhouette: By all pairs, else the sampled one, or None.
        correlation: Of encoder and decoder weights, by all pairs, else sampled, or None.
        born: Epoch at which the present blobs appeared, or None.
        epoch_s: Recent seconds per epoch, or None.
        left_s: Seconds that it still needs, or None, also while nothing comes from it.
        silent_s: Seconds since the last new data; None once it has ended.
        n_restarts: Times that it was started again.
        spark: Loss over the epochs, decimated; float64 of shape (at most 12,).
    """

    id: str
    name: str
    folder: str
    state: State
    reason: str
    epoch: int
    n_planned: int | None
    loss_name: str | None
    loss_last: float | None
    loss_best: float | None
    loss_best_epoch: int | None
    train_last: float | None
    n_blobs: int | None
    n_blobs_sampled: bool
    separation: float | None
    silhouette: float | None
    correlation: float | None
    born: int | None
    epoch_s: float | None
    left_s: float | None
    silent_s: float | None
    n_restarts: int
    spark: Floats


def make_row(run: Run, now_s: float) -> Row:
    """Return the row of a run at ``now_s`` by the monitor's clock."""
    facts = facts_of(run, now_s)
    state = run.verdict.state
    loss = run.loss()
    best, best_epoch = _best(run, loss[1]) if loss else (None, None)
    blobs = _diagnosed(run, BLOB_COUNT)
    sampled = blobs is None
    count = _diagnosed(run, SAMPLED_COUNT) if sampled else blobs
    over = state in ENDED or run.standing.is_over
    pace = facts.recent_epoch_s or facts.epoch_s
    return Row(
        id=run.id,
        name=run.name,
        folder=str(run.folder),
        state=state,
        reason=run.verdict.reason,
        epoch=facts.last_epoch,
        n_planned=facts.n_planned,
        loss_name=loss[0] if loss else None,
        loss_last=_finite(loss[1][-1]) if loss else None,
        loss_best=best,
        loss_best_epoch=best_epoch,
        train_last=next((v for name in TRAIN_NAMES if (v := _last(run, name)) is not None), None),
        n_blobs=None if count is None else round(count),
        n_blobs_sampled=sampled and count is not None,
        separation=_diagnosed(run, SEPARATION),
        silhouette=_diagnosed(run, BLOB_SILHOUETTE, SAMPLED_SILHOUETTE),
        correlation=_diagnosed(run, BLOB_CORRELATION, SAMPLED_CORRELATION),
        born=run.series().born,
        epoch_s=pace,
        left_s=None
        if over or state in _STUCK
        else _if_heard(time_left(facts), facts.silent_s, pace),
        silent_s=None if over else facts.silent_s,
        n_restarts=len(run.restarts),
        spark=decimate(loss[1], SPARK_WIDTH) if loss else np.empty(0),
    )


def with_clocks(row: Row, run: Run, now_s: float) -> Row:
    """Return an unchanged run's row with its clocks going on; rows of ended runs have none."""
    if row.silent_s is None:
        return row
    silent_s, left_s = max(0.0, now_s - run.last_news_s), row.left_s
    if left_s is not None and row.n_planned and row.epoch_s:
        left_s = (row.n_planned - row.epoch) * row.epoch_s - min(silent_s, row.epoch_s)
    left_s = _if_heard(left_s, silent_s, row.epoch_s)
    return replace(row, silent_s=silent_s, left_s=left_s)


def _if_heard(left_s: float | None, silent_s: float, epoch_s: float | None) -> float | None:
    silent = silent_s > max(_SILENT_S, _SILENT_EPOCHS * (epoch_s or 0.0))
    return None if silent else left_s


def decimate(values: Floats, n_most: int) -> Floats:
    """Return at most ``n_most`` means of consecutive values; NaN where a part has none."""
    if len(values) <= n_most:
        return values.copy()
    edges = np.linspace(0, len(values), n_most + 1).astype(int)[:-1]
    finite = np.isfinite(values)
    counts = np.add.reduceat(finite.astype(float), edges)
    sums = np.add.reduceat(np.where(finite, values, 0.0), edges)
    means: Floats = np.divide(sums, counts, out=np.full(n_most, np.nan), where=counts > 0)
    return means


def row_as_json(row: Row, run: Run) -> dict[str, Any]:
    """Return a row as plain data, with the last value of every series and the configuration."""
    found = {name: getattr(row, name) for name in Row.__dataclass_fields__ if name != "spark"}
    found["state"] = row.state.value
    series = run.series()
    parts = [("", series), *((f"{name}.", trace) for name, trace in series.traces.items())]
    last = {
        f"{prefix}{name}": _finite(column[-1])
        for prefix, part in parts
        for name, column in part.values.items()
    }
    found["last"] = last if run.columns.n_epochs else {}
    found["restarts"] = list(run.restarts)
    found["earlier"] = [
        {"n_epochs": len(series.epochs), "last_epoch": int(series.epochs[-1])}
        for series in run.earlier
        if len(series.epochs)
    ]
    found["config"] = run.config
    return found


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _last(run: Run, name: str) -> float | None:
    column = run.columns.get(name)
    return _finite(column[-1]) if column is not None and column.size else None


def _diagnosed(run: Run, *names: str) -> float | None:
    """Return the first known of some metrics at the last epoch whose diagnostics are written."""
    n_written = run.n_written()
    for name in names:
        column = run.columns.get(name)
        if column is not None and n_written and math.isfinite(column[n_written - 1]):
            return float(column[n_written - 1])
    return None


def _best(run: Run, loss: Floats) -> tuple[float | None, int | None]:
    finite = np.isfinite(loss)
    if not finite.any():
        return None, None
    place = int(np.argmin(np.where(finite, loss, np.inf)))
    return float(loss[place]), int(run.columns.epochs[place])
