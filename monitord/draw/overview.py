"""All runs of a folder in one picture: overlaid at the left, small multiples at the right."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from monitord.draw import style
from monitord.draw.curves import FAR
from monitord.draw.decimation import Floats, decimate
from monitord.draw.lettering import number, told_apart
from monitord.draw.panel import Panel
from monitord.draw.panels import epoch_range
from monitord.draw.ticks import linear_ticks, log_ticks
from monitord.series import BLOB_COUNT, SEPARATION, TEST_LOSS, RunSeries

if TYPE_CHECKING:
    from monitord.draw.sheet import Sheet

N_NAMED = 7
N_SMALL = 24
LEFT_SHARE = 0.5
NAME_ROOM = 1.75
LOG_FROM_RATIO = 20.0
FAR_ABOVE = 30.0


def draw_overview(sheet: Sheet, runs: Sequence[RunSeries]) -> None:
    """Draw ``runs`` onto an empty ``sheet``: test loss and separation, the best ones named."""
    if not runs:
        sheet.header("No runs yet", "")
        return
    ranked = sorted(runs, key=lambda run: (_best(run), run.name))
    n_blobby = sum(bool(_last(run, BLOB_COUNT) >= 2) for run in runs)
    n_lossless = sum(not math.isfinite(_best(run)) for run in runs)
    words = [f"{n_blobby} with two or more blobs", "ranked by best test loss"]
    if n_lossless:
        words.append(f"{n_lossless} without a finite test loss")
    noun = "run" if len(runs) == 1 else "runs"
    sheet.header(f"{len(runs)} {noun}", "  \u00b7  ".join(words))
    width, height = sheet.size_in
    left, panel_width = style.MARGIN_LEFT, width * LEFT_SHARE - style.MARGIN_LEFT - NAME_ROOM
    cell = (height - style.HEADER - style.MARGIN_BOTTOM) / 2
    epochs = epoch_range(runs)
    for row, (title, series) in enumerate((("Test loss", TEST_LOSS), ("Separation", SEPARATION))):
        bottom = style.MARGIN_BOTTOM + (1 - row) * cell + style.ROW_GAP / 2
        panel = sheet.panel(
            left, bottom, panel_width, cell - style.PANEL_HEADER + 0.1 - style.ROW_GAP
        )
        _draw_overlaid(panel, title, series, ranked, epochs)
        if row:
            panel.text(0.5, 0.0, "epoch", align="center", colour=style.NOTE, shift_in=(0.0, -0.28))
    _draw_small_multiples(sheet, ranked, epochs)


def _draw_overlaid(
    panel: Panel,
    title: str,
    series: str,
    ranked: Sequence[RunSeries],
    epochs: tuple[float, float] | None,
) -> None:
    """Draw one series of all runs: the best ones coloured and named, the others a grey crowd."""
    panel.text(0.0, 1.0, title, bold=True, size_pt=style.PANEL_TITLE_SIZE, shift_in=(0.0, 0.12))
    curves = [_drawable(run.get(series)) for run in ranked]
    bounds = _bounds(curves)
    if epochs is None or bounds is None:
        panel.limit((0.0, 1.0), (0.0, 1.0))
        panel.frame([], [])
        panel.text(0.5, 0.5, "No value yet", align="center", colour=style.NOTE, size_pt=9.0)
        return
    low, high, n_above = bounds
    log = series == TEST_LOSS and low > 0 and high / low >= LOG_FROM_RATIO
    if log:
        curves = [np.log10(np.where(curve > 0, curve, np.nan)) for curve in curves]
        low, high = math.log10(low), math.log10(high)
    pad = max(0.05 * (high - low), 1e-6 * max(abs(high), 1e-6))
    bottom = 0.0 if not log and 0 <= low < 0.35 * high else low - pad
    panel.limit(epochs, (bottom, high + pad))
    crowd = [(run.epochs, y) for run, y in zip(ranked, curves, strict=True)][N_NAMED:]
    if crowd:
        panel.line(*_joined(crowd, panel.n_columns), colour=style.CROWD, width=style.CROWD_WIDTH)
    ends = []
    named = [run.name for run in ranked[:N_NAMED]]
    names = told_apart(named, NAME_ROOM - 0.6, style.TEXT_SIZE)
    for position in reversed(range(min(N_NAMED, len(ranked)))):
        run, y = ranked[position], curves[position]
        colour, dash = style.run_style(position)
        panel.line(run.epochs, y, colour=colour, dash=dash, width=1.3, order=3.0, label=run.name)
        finite = np.flatnonzero(np.isfinite(y))
        if finite.size:
            value = float(y[finite[-1]])
            words = number(10.0**value if log else value)
            ends.append((min(value, high + pad), f"{words}  {names[position]}", colour))
    panel.label_ends(ends)
    if n_above:
        noun = "run leaves" if n_above == 1 else "runs leave"
        words = f"{n_above} {noun} the top"
        panel.text(1.0, 1.0, words, colour=style.ALARM, align="right", shift_in=(0.0, 0.12))
    ticks = log_ticks if log else linear_ticks
    panel.frame(linear_ticks(*epochs, 6, integers=True), ticks(bottom, high + pad, 6), x_texts=True)


def _drawable(y: Floats) -> Floats:
    """Return ``y`` with gaps for what is not finite, and within what an axis can span."""
    return np.where(np.isfinite(y), np.clip(y, -FAR, FAR), np.nan)


def _bounds(curves: Sequence[Floats]) -> tuple[float, float, int] | None:
    """Return the range to show and how many runs leave it at the top; None without values.

    What rises far above two thirds of the runs does not count, for it would flatten all others: a
    few diverged runs must not hide the good ones.
    """
    lows = np.array([np.nanmin(curve) for curve in curves if not np.isnan(curve).all()])
    highs = np.array([np.nanmax(curve) for curve in curves if not np.isnan(curve).all()])
    if not lows.size:
        return None
    usual = float(np.quantile(highs, 0.67, method="lower"))
    high = float(highs.max())
    if lows.size > 1 and high > FAR_ABOVE * usual > 0:
        high = 1.2 * float(highs[highs <= FAR_ABOVE * usual].max())
    return float(lows.min()), high, int((highs > high).sum())


def _joined(curves: Sequence[tuple[Floats, Floats]], n_columns: int) -> tuple[Floats, Floats]:
    """Return many curves, each decimated, as one with gaps between them: one artist, not many."""
    n_points = max(n_columns // 2, 1)
    gap = np.array([np.nan])
    xs, ys = [], []
    for x, y in curves:
        x_kept, y_kept = decimate(x, y, n_points)
        xs += [x_kept, x_kept[-1:]]
        ys += [y_kept, gap[: x_kept[-1:].size]]
    return np.concatenate(xs), np.concatenate(ys)


def _draw_small_multiples(
    sheet: Sheet, ranked: Sequence[RunSeries], epochs: tuple[float, float] | None
) -> None:
    """Draw a cell for each of the best runs: loss above, separation below, on common scales."""
    shown = ranked[:N_SMALL]
    if not shown or epochs is None:
        return
    width, height = sheet.size_in
    left = width * LEFT_SHARE + 0.15
    area_width, area_height = width - left - 0.25, height - style.HEADER - 0.42
    grid = sheet.panel(left, 0.42, area_width, area_height)
    grid.limit((0.0, area_width), (0.0, area_height))
    n_columns = 2 if len(shown) <= 6 else 3 if len(shown) <= 12 else 4
    n_rows = max(math.ceil(len(shown) / n_columns), 3)
    cell = (area_width / n_columns, area_height / n_rows)
    strip = (cell[0] - 0.22, (cell[1] - 0.42) / 2)
    names = told_apart([run.name for run in shown], strip[0], style.TEXT_SIZE)
    scales = {
        TEST_LOSS: _strip_scale(shown, TEST_LOSS, log=True),
        SEPARATION: _strip_scale(shown, SEPARATION, log=False),
    }
    looks = ((TEST_LOSS, style.BLUE), (SEPARATION, style.GREEN))
    for position, run in enumerate(shown):
        row, column = divmod(position, n_columns)
        x, top = column * cell[0], area_height - row * cell[1]
        grid.text(x, top - 0.1, names[position], data=True)
        share = (run.epochs - epochs[0]) / (epochs[1] - epochs[0])
        _note_cell(grid, run, share, (x, top - 0.24), strip)
        for level, (series, colour) in enumerate(looks):
            low = top - 0.24 - (level + 1) * strip[1] - 0.06 * level
            base = np.array([low, low])
            grid.line(np.array([x, x + strip[0]]), base, colour=style.GRID, width=0.7, order=1.0)
            y = low + scales[series](run.get(series)) * strip[1]
            grid.line(x + share * strip[0], y, colour=colour, width=1.1)
    hidden = len(ranked) - len(shown)
    more = f"  \u00b7  best {len(shown)} shown, {hidden} more not" if hidden else ""
    grid.text(0.0, -0.2, "test loss", colour=style.BLUE, bold=True, data=True)
    grid.text(0.65, -0.2, "separation", colour=style.GREEN, bold=True, data=True)
    words = f"each on one scale for all cells{more}"
    grid.text(1.42, -0.2, words, colour=style.NOTE, data=True)


def _note_cell(
    grid: Panel,
    run: RunSeries,
    share: Floats,
    corner: tuple[float, float],
    strip: tuple[float, float],
) -> None:
    """Write the best loss and the number of blobs where falling and rising curves leave room.

    ``share`` is where each epoch is in the width of the cell, 0 to 1.
    """
    best, n_blobs = _best(run), _last(run, BLOB_COUNT)
    x, top = corner
    words = number(best) if math.isfinite(best) else "no loss"
    grid.text(x + strip[0], top - 0.08, words, data=True, align="right", colour=style.BLUE)
    if math.isfinite(n_blobs):
        words = f"{n_blobs:.0f} blob{'' if n_blobs == 1 else 's'}"
        # Where the curve is not: below or behind its end if it rose early or is short, above its
        # beginning if it rose late.
        right_half = run.get(SEPARATION)[share >= 0.55]
        if not right_half.size or right_half[0] > 0.5:
            y = top - 2 * strip[1] + 0.02
            grid.text(x + strip[0], y, words, data=True, align="right", colour=style.GREEN)
        else:
            grid.text(x, top - strip[1] - 0.14, words, data=True, colour=style.GREEN)


class _StripScale:
    """Maps values to [0, 1], the same way in every cell."""

    def __init__(self, low: float, high: float, *, log: bool) -> None:
        self._log = log
        self._low = math.log10(low) if log else low
        self._span = max((math.log10(high) if log else high) - self._low, 1e-12)

    def __call__(self, y: Floats) -> Floats:
        if self._log:
            y = np.log10(np.where(y > 0, y, np.nan))
        scaled: Floats = np.clip((y - self._low) / self._span, 0.0, 1.0)
        return scaled


def _strip_scale(runs: Sequence[RunSeries], series: str, *, log: bool) -> _StripScale:
    """Return the common scale of a series; logarithmic only if all values allow it."""
    bounds = _bounds([_drawable(run.get(series)) for run in runs])
    if bounds is None:
        return _StripScale(0.0, 1.0, log=False)
    low, high, _ = bounds
    if log and low > 0:
        return _StripScale(low, high, log=True)
    return _StripScale(min(low, 0.0), high, log=False)


def _best(run: RunSeries) -> float:
    """Return the smallest finite test loss; infinity if there is none."""
    losses = run.get(TEST_LOSS)
    losses = losses[np.isfinite(losses)]
    return float(losses.min()) if losses.size else math.inf


def _last(run: RunSeries, series: str) -> float:
    """Return the last value of a series; NaN if it has none."""
    values = run.get(series)
    return float(values[-1]) if values.size else math.nan
