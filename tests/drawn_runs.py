"""Runs for the tests of pictures, and the sheets that are drawn of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.image import imread

from monitord import series
from monitord.draw.canvas import encode_figure
from monitord.draw.request import DrawOptions
from monitord.draw.sheet import Sheet
from monitord.series import RunSeries

N_EPOCHS = 20


def blobs(n: int = N_EPOCHS, **changes: Any) -> RunSeries:
    """Return a run that forms three blobs at epoch 10, which the sampled detector never sees."""
    epochs = np.arange(1.0, n + 1)
    late = epochs >= 10
    loss = 9 + 161 * np.exp(-(epochs - 1) / 3)
    values = {
        series.TEST_LOSS: loss,
        series.TRAIN_LOSS: loss * 1.1,
        series.BLOB_COUNT: np.where(late, 3.0, 1.0),
        series.SAMPLED_COUNT: np.ones(n),
        series.BLOB_SILHOUETTE: np.where(late, 0.9, np.nan),
        series.SAMPLED_SILHOUETTE: np.full(n, np.nan),
        series.BLOB_CORRELATION: -0.01 * epochs,
        series.SAMPLED_CORRELATION: -0.02 * epochs,
        series.SEPARATION: np.where(late, 0.95, 0.1),
    }
    run = RunSeries(name="quick", epochs=epochs, values=values, n_planned=20, born=10)
    return replace(run, **changes)


def draw(*runs: RunSeries, **options: Any) -> Sheet:
    """Return a sheet with ``runs`` drawn, checked to be drawable."""
    sheet = Sheet()
    encode_figure(sheet.draw(runs, DrawOptions(**options)), "png")
    return sheet


def colours_in(path: Path) -> set[str]:
    """Return the colours of all pixels of a picture."""
    red, green, blue = np.moveaxis(np.round(imread(path)[..., :3] * 255).astype(np.uint32), -1, 0)
    return {f"#{colour:06x}" for colour in np.unique(red << 16 | green << 8 | blue)}
