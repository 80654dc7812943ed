"""Where a run stands, in one line above its picture."""

from __future__ import annotations

import numpy as np

from monitord.draw.lettering import number, printable
from monitord.series import BLOB_COUNT, TEST_LOSS, RunSeries


def best_loss(run: RunSeries) -> tuple[float, float]:
    """Return the smallest test loss of ``run`` and its epoch; (infinity, NaN) if it has none."""
    losses = run.get(TEST_LOSS)
    if not np.isfinite(losses).any():
        return float("inf"), float("nan")
    index = int(np.nanargmin(np.where(np.isfinite(losses), losses, np.nan)))
    return float(losses[index]), float(run.epochs[index])


def summary(run: RunSeries) -> str:
    """Return one line on where ``run`` stands: epochs, losses, blobs, restarts."""
    if not run.epochs.size:
        return "no epoch yet"
    planned = f" of {run.n_planned}" if run.n_planned else ""
    parts = [f"epoch {run.epochs[-1]:.0f}{planned}"]
    best, epoch = best_loss(run)
    if np.isfinite(best):
        last = float(run.get(TEST_LOSS)[-1])
        now = number(last) if np.isfinite(last) else "not finite"
        parts.append(f"test loss {now} (best {number(best)}, epoch {epoch:.0f})")
    counts = run.get(BLOB_COUNT)
    if np.isfinite(counts[-1]):
        n_blobs = f"{counts[-1]:.0f} blob{'' if counts[-1] == 1 else 's'}"
        parts.append(n_blobs + (f" since epoch {run.born}" if run.born is not None else ""))
    if run.restarts:
        n_restarts = len(run.restarts)
        parts.append(f"{n_restarts} restart{'' if n_restarts == 1 else 's'}")
    return printable("  \u00b7  ".join(parts))
