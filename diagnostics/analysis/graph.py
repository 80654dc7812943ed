"""The encoder as a graph: hidden units and inputs, an edge where |weight| >= threshold.

With A the 0/1 matrix of shape (hidden, d), A A^T counts the inputs that two hidden units share
(their overlap). A 4-cycle is two hidden units with two inputs that both have: a pair of hidden
units with overlap c is in c (c - 1) / 2 of them, so the counts below are exact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diagnostics.contract.snapshot import Floats

Counts = NDArray[np.int64]
ROWS_PER_BLOCK = 1024


def encoder_graph(encoder: Floats, threshold: float) -> dict[str, Any]:
    """Describe the graph of large encoder weights.

    Args:
        encoder: Weights of shape (hidden, d); NaN makes no edge.
        threshold: Least absolute weight of an edge, positive.

    Returns:
        ``threshold``, ``n_edges``, ``edge_share``, ``n_positive_edges``;
        ``hidden_degrees`` and ``input_degrees``: ``mean``, ``std``, ``min``, ``max`` and
        ``histogram`` (entry k: how many have degree k);
        ``hidden_overlaps`` and ``input_overlaps``: the same of the neighbours that two hidden
        units (two inputs) share, over all pairs of them, trailing zeros left out;
        ``n_4_cycles``, and ``expected_4_cycles`` in a random graph that has each edge with the
        same probability, independently.

    Raises:
        ValueError: The threshold is not positive.
    """
    if not threshold > 0:
        raise ValueError(f"threshold: got {threshold}; accepted: positive numbers")
    with np.errstate(over="ignore"):  # above float32's range no finite weight is an edge
        edges, positive = np.abs(encoder) >= threshold, encoder >= threshold
    n_hidden, n_inputs = edges.shape
    n_edges = int(edges.sum())
    density = n_edges / edges.size if edges.size else 0.0
    hidden_overlaps = overlap_histogram(edges)
    overlap = np.arange(len(hidden_overlaps))
    n_pairs = n_hidden * (n_hidden - 1) / 2, n_inputs * (n_inputs - 1) / 2
    return {
        "threshold": float(threshold),
        "n_edges": n_edges,
        "edge_share": density,
        "n_positive_edges": int(positive.sum()),
        "hidden_degrees": _summary(np.bincount(edges.sum(axis=1))),
        "input_degrees": _summary(np.bincount(edges.sum(axis=0))),
        "hidden_overlaps": _summary(hidden_overlaps),
        "input_overlaps": _summary(overlap_histogram(edges.T)),
        "n_4_cycles": int((hidden_overlaps * (overlap * (overlap - 1) // 2)).sum()),
        "expected_4_cycles": n_pairs[0] * n_pairs[1] * density**4,
    }


def overlap_histogram(edges: NDArray[np.bool_]) -> Counts:
    """Return how many pairs of rows share k columns, for k from 0; int64.

    Products of float32 zeros and ones are exact up to 2^24 columns, and BLAS is fast at them.
    """
    matrix = edges.astype(np.float32)
    n_rows = len(matrix)
    histogram = np.zeros(edges.shape[1] + 1, np.int64)
    for start in range(0, n_rows, ROWS_PER_BLOCK):
        block = matrix[start : start + ROWS_PER_BLOCK]
        # Of a row's pairs, only those with later rows: each pair once.
        shared = (block @ matrix[start:].T).astype(np.int64)
        later = np.arange(shared.shape[1])[None, :] > np.arange(len(block))[:, None]
        histogram += np.bincount(shared[later], minlength=len(histogram))
    last = int(np.flatnonzero(histogram)[-1]) if histogram.any() else 0
    return histogram[: last + 1]


def natural_threshold(
    encoder_std: float | None, blobs: Sequence[Mapping[str, Any]]
) -> tuple[float, str]:
    """Return the |encoder weight| that tells large weights from the central blob's, and its source.

    Between the blob nearest to zero and the next one outwards, where both are equally many of
    their standard deviations away; with a single blob three standard deviations of all weights.
    """
    ordered = sorted(blobs, key=lambda blob: abs(blob["center"][0]))
    outer = [b for b in ordered[1:] if abs(b["center"][0]) > 2.0 * ordered[0]["std"][0]]
    if outer:
        inner, nearest = ordered[0], outer[0]
        s0, s1 = inner["std"][0], nearest["std"][0]
        c0, c1 = abs(inner["center"][0]), abs(nearest["center"][0])
        if s0 + s1 > 0:
            return float((c0 * s1 + c1 * s0) / (s0 + s1)), "from the blobs"
    return 3.0 * (encoder_std or 1.0), "three standard deviations"


def _summary(histogram: Counts) -> dict[str, Any]:
    n = int(histogram.sum())
    if n == 0:
        return {"mean": None, "std": None, "min": None, "max": None, "histogram": []}
    values = np.arange(len(histogram), dtype=np.float64)
    mean = float(histogram @ values / n)
    present = np.flatnonzero(histogram)
    return {
        "mean": mean,
        "std": float(np.sqrt(histogram @ (values - mean) ** 2 / n)),
        "min": int(present[0]),
        "max": int(present[-1]),
        "histogram": histogram.tolist(),
    }
