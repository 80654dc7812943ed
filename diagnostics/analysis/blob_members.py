"""Which blob each weight pair belongs to.

Shapes: N bins per axis of the density grid, B blobs, n pairs.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from diagnostics.blobs.modes import ValleyRule
from diagnostics.blobs.smoothing import Kernels
from diagnostics.blobs.structure import DEFAULT_RULE, find_modes
from diagnostics.contract.density import DensityGrid
from diagnostics.contract.snapshot import Floats

Labels = NDArray[np.int64]
PAIRS_PER_BLOCK = 1 << 20


def label_cells(grid: DensityGrid, rule: ValleyRule = DEFAULT_RULE) -> Labels:
    """Return the blob of every cell, (N, N): 0 for the largest, in the order of `find_blobs`."""
    if grid.n_pairs == 0:
        return np.zeros(grid.counts.shape, np.int64)
    tree = find_modes(grid, Kernels.of(grid), rule)
    mass = np.bincount(tree.labels.ravel(), grid.counts.ravel(), len(tree.depths))
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
