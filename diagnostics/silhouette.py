"""The silhouette of clusters of points in the plane (Rousseeuw, 1987)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BLOCK_ROWS = 64
"""Rows of the distance matrix at a time: a block stays in the cache."""


def silhouette_score(points: NDArray[np.floating], labels: NDArray[np.integer]) -> float | None:
    """Return the mean silhouette, equal to scikit-learn's ``silhouette_score``.

    For each point, a is its mean distance to the other points of its cluster and b the least mean
    distance to another cluster; the silhouette is (b - a) / max(a, b), 0 for a cluster of one.

    Args:
        points: Array of shape (n, 2).
        labels: Integer array of shape (n,); every value is a cluster.

    Returns:
        A number from -1 to 1; None if there are fewer than two clusters, or none of two points.
    """
    clusters, index, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    n, k = len(points), len(clusters)
    if k < 2 or k >= n:
        return None
    # Single precision is enough for distances: what matters is scaled by their size first.
    centred = points - points.mean(axis=0, dtype=np.float64)
    scale = float(np.abs(centred).max()) or 1.0
    x, y = np.ascontiguousarray((centred / scale).T.astype(np.float32))
    member = np.zeros((n, k), dtype=np.float32)
    member[np.arange(n), index] = 1.0
    sums = np.zeros((n, k), dtype=np.float64)
    buffers = np.empty((2, min(BLOCK_ROWS, n) * n), dtype=np.float32)
    for start in range(0, n, BLOCK_ROWS):
        # A distance is that of both points to each other: each is computed once.
        stop = min(start + BLOCK_ROWS, n)
        shape = stop - start, n - start
        distance, of_y = (buffer[: shape[0] * shape[1]].reshape(shape) for buffer in buffers)
        np.subtract.outer(x[start:stop], x[start:], out=distance)
        np.multiply(distance, distance, out=distance)
        np.subtract.outer(y[start:stop], y[start:], out=of_y)
        np.multiply(of_y, of_y, out=of_y)
        distance += of_y
        np.sqrt(distance, out=distance)
        sums[start:stop] += distance @ member[start:]
        sums[stop:] += distance[:, stop - start :].T @ member[start:stop]
    return float(_silhouettes(sums, index, sizes).mean())


def _silhouettes(
    sums: NDArray[np.float64], own: NDArray[np.intp], sizes: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Return each row's silhouette from its distance sums to the clusters, shape (rows, k)."""
    rows = np.arange(len(own))
    alone = sizes[own] == 1
    a = sums[rows, own] / np.maximum(sizes[own] - 1, 1)
    means = sums / sizes
    means[rows, own] = np.inf
    b = means.min(axis=1)
    with np.errstate(invalid="ignore"):
        values = (b - a) / np.maximum(a, b)
    return np.where(alone, 0.0, np.nan_to_num(values))
