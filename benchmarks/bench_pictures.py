"""Pictures: time from arrays in memory to a file on the disk, in a figure that is reused."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.table import Row
from monitord import series
from monitord.draw.canvas import write_figure
from monitord.draw.request import DrawOptions
from monitord.draw.sheet import Sheet
from monitord.series import RunSeries

N_REPEATS = 15


def make_run(n_epochs: int, seed: int) -> RunSeries:
    """Return a noisy run that forms three blobs half way."""
    random = np.random.default_rng(seed)
    epochs = np.arange(1.0, n_epochs + 1)
    late = epochs >= n_epochs // 2
    loss = 9 + 161 * np.exp(-6 * epochs / n_epochs) * (1 + 0.05 * random.standard_normal(n_epochs))
    correlation = -0.3 * epochs / n_epochs
    values = {
        series.TEST_LOSS: loss,
        series.TRAIN_LOSS: loss * 1.05 + random.random(n_epochs),
        series.BLOB_COUNT: np.where(late, 3.0, 1.0),
        series.SAMPLED_COUNT: np.ones(n_epochs),
        series.BLOB_SILHOUETTE: np.where(late, 0.9 + 0.02 * random.random(n_epochs), np.nan),
        series.SAMPLED_SILHOUETTE: np.full(n_epochs, np.nan),
        series.BLOB_CORRELATION: correlation + 0.02 * random.standard_normal(n_epochs),
        series.SAMPLED_CORRELATION: correlation + 0.06 * random.standard_normal(n_epochs),
        series.SEPARATION: np.where(late, 0.95, 0.1 * random.random(n_epochs)),
    }
    return RunSeries(
        name=f"sweep_lr{0.01 * (seed % 7 + 1):.2f}_seed{seed}",
        epochs=epochs,
        values=values,
        n_planned=n_epochs,
        born=n_epochs // 2,
    )


def measure() -> list[Row]:
    """Return a row for each kind of picture."""
    four = DrawOptions()
    many = [make_run(100, seed) for seed in range(1000)]
    long = [[make_run(100_000, seed)] for seed in range(3)]
    return [
        _row("four panels, 20 epochs", [[make_run(20, s)] for s in range(40)], four),
        _row("four panels, 1,000 epochs", [[make_run(1_000, s)] for s in range(40)], four, 120.0),
        _row("four panels, 100,000 epochs", long, four, 200.0),
        _row("overlay of 12 runs, 100 epochs", [many[:12]], DrawOptions(overlay=True)),
        _row("overview of 1,000 runs, 100 epochs", [many], DrawOptions(overview=True)),
    ]


def _row(
    name: str, groups: list[list[RunSeries]], options: DrawOptions, bar_ms: float | None = None
) -> Row:
    """Draw and write picture after picture of other runs, so that few words were drawn before."""
    sheet = Sheet()
    times = []
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "picture.png"
        for index in range(N_REPEATS + 1):
            started = time.perf_counter()
            write_figure(sheet.draw(groups[index % len(groups)], options), output)
            times.append(1e3 * (time.perf_counter() - started))
        size = output.stat().st_size
    median = statistics.median(times[1:])
    beside = f"first {times[0]:.0f} ms, worst later {max(times[1:]):.0f} ms, {size / 1e3:.0f} kB"
    bar = "" if bar_ms is None else f"<= {bar_ms:g} ms"
    holds = None if bar_ms is None else median <= bar_ms
    return Row(name, f"{median:.0f} ms", beside, None, bar, holds)
