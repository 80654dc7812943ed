"""Fewer points, the same picture: every extreme, every gap and both ends of a line stay."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def decimate(x: Floats, y: Floats, n_columns: int) -> tuple[Floats, Floats]:
    """Keep the smallest and the largest value in each of ``n_columns`` columns of equal width.

    A line through the result covers the same pixels as one through all points when a column is
    one pixel wide. Nothing is averaged and nothing is chosen at random.

    Args:
        x: Increasing, finite; shape (n_points,).
        y: Shape (n_points,); values that are not finite are gaps.
        n_columns: Number of columns, such as the width of the axes in pixels; at least 1.

    Returns:
        ``x`` and ``y`` of the kept points, in order, at most about four a column: the extremes,
        the first and the last finite point of the line, and one NaN on the side of a column at
        which a gap lies. A gap in the middle of a column, too narrow to be seen, is moved to the
        column's end, so that it never parts the two extremes.

    Raises:
        ValueError: ``n_columns`` is below 1 or the shapes differ.
    """
    if n_columns < 1 or x.shape != y.shape:
        raise ValueError(f"cannot decimate {x.shape} over {y.shape} to {n_columns} columns")
    finite = np.isfinite(y)
    if x.size <= 2 * n_columns:
        return x, np.where(finite, y, np.nan)
    column = np.minimum(((x - x[0]) * (n_columns / (x[-1] - x[0]))).astype(np.intp), n_columns - 1)
    starts = np.flatnonzero(np.diff(column, prepend=-1))
    ends = np.append(starts[1:], x.size) - 1
    extremes = np.concatenate(
        [
            _first_hits(np.where(finite, y, np.inf), np.minimum, starts),
            _first_hits(np.where(finite, y, -np.inf), np.maximum, starts),
        ]
    )
    kept = extremes[finite[extremes]]
    if kept.size:
        inside = np.flatnonzero(finite)
        kept = np.unique(np.concatenate([kept, inside[[0, -1]]]))
    gap_first = starts[~finite[starts]]
    has_gap = np.logical_or.reduceat(~finite, starts)
    gap_last = ends[has_gap & (finite[starts] | ~finite[ends])]
    # Sorting key: a gap at a column's start comes before its points, one at its end after them.
    order = np.concatenate([4 * kept, 4 * gap_first - 1, 4 * gap_last + 1])
    positions = np.concatenate([kept, gap_first, gap_last])
    values = np.concatenate([y[kept], np.full(gap_first.size + gap_last.size, np.nan)])
    sorting = np.argsort(order, kind="stable")
    return x[positions[sorting]], values[sorting]


def _first_hits(filled: Floats, extreme: np.ufunc, starts: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the index of the first extreme value of each segment that begins at ``starts``."""
    bests = extreme.reduceat(filled, starts)
    lengths = np.diff(np.append(starts, filled.size))
    hits = np.flatnonzero(filled == np.repeat(bests, lengths))
    return hits[np.searchsorted(hits, starts)]


def isolated_points(y: Floats) -> NDArray[np.bool_]:
    """Return where a finite value has no finite neighbour, so that a line would not show it."""
    finite = np.isfinite(y)
    padded = np.concatenate([[False], finite, [False]])
    lonely: NDArray[np.bool_] = finite & ~padded[:-2] & ~padded[2:]
    return lonely


def smoothed(y: Floats, weight: float) -> Floats:
    """Return the debiased exponential moving average of ``y``.

    Element k is ``sum_i weight**(k-i) y_i / sum_i weight**(k-i)`` over the finite values up to k,
    so the average does not start at zero, and a gap neither moves nor resets it.

    Args:
        y: Shape (n_points,); values that are not finite are gaps and stay gaps.
        weight: Weight of the past, in [0, 1).
    """
    result = np.full(y.shape, np.nan)
    finite = np.isfinite(y)
    values = y[finite]
    if weight <= 0.0 or values.size == 0:
        result[finite] = values
        return result
    # Divided by the largest, so that sums of values near the largest float stay finite.
    peak = float(np.abs(values).max()) or 1.0
    values = values / peak
    # In blocks, so that weight**-n stays far from overflow: 1e100 at most.
    n_block = int(np.clip(230.0 / -np.log(weight), 1, values.size))
    decay = weight ** np.arange(1, n_block + 1)
    total, mass, averages = 0.0, 0.0, np.empty(values.size)
    for start in range(0, values.size, n_block):
        block = values[start : start + n_block]
        scale = decay[: block.size]
        totals = scale * (total + np.cumsum(block / scale))
        masses = scale * (mass + np.cumsum(1.0 / scale))
        averages[start : start + block.size] = totals / masses
        total, mass = totals[-1], masses[-1]
    result[finite] = averages * peak
    return result
