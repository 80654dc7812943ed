"""The silhouette of clusters of points in the plane (Rousseeuw, 1987)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BLOCK_ROWS = 256
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
    total = 0.0
    for start in range(0, n, BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        distance = np.subtract.outer(x[rows], x)
        np.multiply(distance, distance, out=distance)
        other = np.subtract.outer(y[rows], y)
        np.multiply(other, other, out=other)
        distance += other
        np.sqrt(distance, out=distance)
        total += _silhouettes(distance @ member, index[rows], sizes).sum()
    return total / n


def _silhouettes(
    sums: NDArray[np.float32], own: NDArray[np.intp], sizes: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Return each row's silhouette from its distance sums to the clusters, shape (rows, k)."""
    rows = np.arange(len(own))
    alone = sizes[own] == 1
    a = sums[rows, own] / np.maximum(sizes[own] - 1, 1)
    means = (sums / sizes).astype(np.float64)
    means[rows, own] = np.inf
    b = means.min(axis=1)
    with np.errstate(invalid="ignore"):
        values = (b - a) / np.maximum(a, b)
    return np.where(alone, 0.0, np.nan_to_num(values))
