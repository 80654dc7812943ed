"""Which blob each weight pair belongs to.

Shapes: N bins per axis of the density grid, B blobs, n pairs.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from diagnostics.blobs import find_blobs
from diagnostics.blobs.modes import ValleyRule, build_mode_tree
from diagnostics.blobs.smoothing import smooth
from diagnostics.blobs.structure import MAX_SUPPORT, MIN_SUPPORT, SUPPORT_SHARE
from diagnostics.contract.density import DensityGrid
from diagnostics.contract.snapshot import Floats

Labels = NDArray[np.int64]
PAIRS_PER_BLOCK = 1 << 20


def label_cells(grid: DensityGrid, **options: float) -> Labels:
    """Return the blob of every cell, (N, N): 0 for the largest, in the order of `find_blobs`.

    Args:
        grid: All weight pairs.
        **options: Those of :func:`diagnostics.blobs.find_blobs`, whose steps and defaults these
            are.
    """
    if grid.n_pairs == 0:
        return np.zeros(grid.counts.shape, np.int64)
    support = min(max(SUPPORT_SHARE * grid.n_pairs, MIN_SUPPORT), MAX_SUPPORT)
    rule = ValleyRule(**{**(find_blobs.__kwdefaults__ or {}), **options})
    counts = grid.counts.astype(np.float64)
    tree = build_mode_tree(smooth(grid, support), counts, rule)
    mass = np.bincount(tree.labels.ravel(), counts.ravel(), len(tree.depths))
    rank = np.empty(len(mass), np.int64)
    rank[np.argsort(-mass, kind="stable")] = np.arange(len(mass))
    ranked: Labels = rank[tree.labels]
    return ranked


def blob_members(
    encoder: Floats, decoder: Floats, grid: DensityGrid, labels: Labels
) -> list[NDArray[np.float32]]:
    """Return the pairs of each blob, B arrays of shape (n, 2), largest blob first.

    Args:
        encoder: Weights of shape (hidden, d).
        decoder: Weights of shape (d, hidden).
        grid: Their density grid.
        labels: What `label_cells` said of it.
    """
    n_blobs = int(labels.max()) + 1
    parts: list[list[NDArray[np.float32]]] = [[] for _ in range(n_blobs)]
    inner = [axis.edges()[1:-1] for axis in (grid.encoder_axis, grid.decoder_axis)]
    for pairs in _blocks(encoder, decoder):
        rows, columns = (np.searchsorted(inner[k], pairs[:, k], side="right") for k in (0, 1))
        blob = labels[rows, columns]
        for k in range(n_blobs):
            parts[k].append(pairs[blob == k])
    return [np.concatenate(part) for part in parts]


def _blocks(encoder: Floats, decoder: Floats) -> Iterator[NDArray[np.float32]]:
    n_rows = max(1, PAIRS_PER_BLOCK // max(1, encoder.shape[1]))
    for start in range(0, len(encoder), n_rows):
        rows = slice(start, start + n_rows)
        pairs = np.column_stack([encoder[rows].ravel(), decoder[:, rows].T.ravel()])
        yield pairs[np.isfinite(pairs).all(axis=1)]
