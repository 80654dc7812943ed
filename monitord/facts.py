"""What is known of a run at a moment, as `monitord.states.judge` wants it."""

from __future__ import annotations

import math

import numpy as np

from monitord.reading.runs import Run
from monitord.states import Facts

N_RECENT = 8


def facts_of(run: Run, now_s: float) -> Facts:
    """Return what is known of a run at ``now_s`` by the monitor's clock."""
    columns = run.columns
    loss = run.loss()
    finite = loss[1][np.isfinite(loss[1])] if loss is not None else np.empty(0)
    nonfinite, since = _nonfinite_loss(run)
    epoch_s, recent_s = run.epoch_seconds()
    trouble, standing = run.trouble, run.standing
    return Facts(
        n_epochs=columns.n_epochs,
        last_epoch=columns.last_epoch(),
        n_planned=run.planned_epochs(),
        status=standing.status,
        status_reason=standing.reason,
        pid=standing.process.pid if standing.process else None,
        process_alive=run.process_alive if standing.status == "running" else None,
        unreadable=f"since {trouble.since}: {trouble.reason}" if trouble else None,
        nonfinite=nonfinite,
        nonfinite_since=since,
        loss_first=float(finite[0]) if finite.size else math.nan,
        loss_best=float(finite.min()) if finite.size else math.nan,
        loss_last=float(finite[-1]) if finite.size else math.nan,
        losses=tuple(finite[-N_RECENT:].tolist()),
        epoch_s=epoch_s,
        recent_epoch_s=recent_s,
        stage2=run.traces.progress(),
        silent_s=max(0.0, now_s - run.last_news_s) if run.last_news_s > -math.inf else 0.0,
    )


def _nonfinite_loss(run: Run) -> tuple[str | None, int | None]:
    """Return the loss that is not finite in the last epoch, and since which epoch."""
    for name, marks in run.columns.nonfinite().items():
        if "loss" not in name or not marks.size or not marks[-1]:
            continue
        backwards = marks[::-1]
        n_last = len(marks) if backwards.all() else int(np.argmin(backwards))
        return name, int(run.columns.epochs[-n_last])
    return None, None
