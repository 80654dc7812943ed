"""Density modes and the valleys between them: topological persistence on the grid.

Each cell climbs to the summit of its hill (a watershed by steepest ascent), hills meet at passes,
and a summit lives from its own height down to the pass that joins it to a higher one: its
persistence (Chazal, Guibas, Oudot, Skraba 2013, "Persistence-based clustering in Riemannian
manifolds"). A valley's depth is 1 - pass / summit, taken at the pessimistic end of the counting
error, so that a dip that the counts do not establish has depth 0.

N below is the grid's bins per axis, C = N * N its cells, M the number of hills, P of passes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from diagnostics.blobs.smoothing import SmoothDensity

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Image = npt.NDArray[np.float32]

# Half of a cell's eight neighbours; the other half are their negatives.
_FORWARD = ((0, 1), (1, 0), (1, 1), (1, -1))


@dataclass(frozen=True, slots=True)
class ValleyRule:
    """When a valley counts: the error bound in standard errors, the least depth and share."""

    confidence: float
    min_depth: float
    min_share: float

    def depth(self, summit: Floats, n_summit: Floats, low: Floats, n_low: Floats) -> Floats:
        """Pessimistic depths, from log densities (``low`` at the pass) and their supports.

        A count n lies within (sqrt(n) +- z / 2) ** 2: the square root makes the error of a
        Poisson count constant (Anscombe 1948). The summit is taken at its lowest and the pass at
        its highest.
        """
        half = 0.5 * self.confidence
        lowest = 1.0 - half / np.sqrt(np.maximum(n_summit, 1e-30))
        highest = 1.0 + half / np.sqrt(np.maximum(n_low, 1e-30))
        # In logs: an empty pass has a tiny density and a huge relative error.
        log_ratio = low - summit + 2.0 * np.log(highest / np.maximum(lowest, 1e-9))
        depth = np.clip(-np.expm1(np.minimum(log_ratio, 0.0)), 0.0, 1.0)
        return np.where(lowest > 0.0, depth, 0.0)


@dataclass(frozen=True, slots=True)
class ModeTree:
    """What merging left.

    ``labels`` (N, N) of the blobs, 0 .. n - 1; each blob's ``depths``; and ``rejected``, the
    (depth, share) of summits that came close without counting.
    """

    labels: Ints
    depths: list[float]
    rejected: list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class _Passes:
    """Where two hills meet: their numbers, and the cell that is the pass, each (P,)."""

    first: Ints
    second: Ints
    cells: Ints

    def relabelled(self, number: Ints, height: Floats) -> _Passes:
        """With hills renumbered and, of the passes between the same two, the highest only."""
        a, b = number[self.first], number[self.second]
        first, second = np.minimum(a, b), np.maximum(a, b)
        order = np.lexsort((-height[self.cells], second, first))
        order = order[first[order] != second[order]]
        first, second = first[order], second[order]
        keep = np.ones(len(order), bool)
        keep[1:] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
        return _Passes(first[keep], second[keep], self.cells[order][keep])


@dataclass(slots=True)
class _Landscape:
    """Flat log density and support (C,); summits' cells and the hills' masses (M,)."""

    height: Floats
    support: Floats
    summits: Ints
    masses: Floats

    def depths(self, hills: Ints, cells: Ints, rule: ValleyRule) -> Floats:
        """Depth of the valley at each of the cells under each of the hills."""
        peaks = self.summits[hills]
        return rule.depth(
            self.height[peaks], self.support[peaks], self.height[cells], self.support[cells]
        )

    def is_lower(self, a: Ints, b: Ints) -> npt.NDArray[np.bool_]:
        """Whether summit ``a`` is the lower of the two (by number where they are equal)."""
        low, high = self.height[self.summits[a]], self.height[self.summits[b]]
        lower: npt.NDArray[np.bool_] = (low < high) | ((low == high) & (a > b))
        return lower


def build_mode_tree(density: SmoothDensity, counts: Floats, rule: ValleyRule) -> ModeTree:
    """Merge the hills of a density, highest pass first, keeping those with a valley that counts.

    Args:
        density: the smoothed grid.
        counts: (N, N) pairs in each cell, for the shares.
        rule: what counts.
    """
    labels, summits = _climb(density.log_density)
    masses: Floats = np.bincount(labels.ravel(), counts.ravel(), len(summits)).astype(np.float64)
    land = _Landscape(
        density.log_density.ravel().astype(np.float64),
        density.support.ravel().astype(np.float64),
        summits,
        masses,
    )
    passes = _find_passes(labels, density.log_density).relabelled(
        np.arange(len(summits)), land.height
    )
    merged, passes = _prune(land, passes, rule)
    owner, rejected = _merge(land, passes, rule)
    kept = np.unique(owner[merged])
    number = np.searchsorted(kept, owner)
    passes = passes.relabelled(number, land.height)
    depths = []
    for blob, hill in enumerate(kept.tolist()):
        cells = passes.cells[(passes.first == blob) | (passes.second == blob)]
        if len(cells) == 0:  # one blob alone: no valley
            depths.append(0.0)
            continue
        highest = cells[np.argmax(land.height[cells])]
        depths.append(float(land.depths(hill, highest, rule)))
    return ModeTree(number[merged][labels], depths, rejected)


def _climb(height: Image) -> tuple[Ints, Ints]:
    """Hill number of every cell (N, N), and the summits' flat cells (M,), by steepest ascent."""
    n_rows, n_cols = height.shape
    padded = np.full((n_rows + 2, n_cols + 2), -np.inf, np.float32)
    padded[1:-1, 1:-1] = height
    best = height.copy()
    step = np.zeros(height.shape, np.int32)
    for down, right in (*_FORWARD, *((-a, -b) for a, b in _FORWARD)):
        neighbour = padded[1 + down : 1 + down + n_rows, 1 + right : 1 + right + n_cols]
        np.copyto(step, down * n_cols + right, where=neighbour > best)
        np.maximum(best, neighbour, out=best)
    target = np.arange(height.size) + step.ravel()
    while True:  # each round doubles the distance climbed
        further = target[target]
        if np.array_equal(further, target):
            break
        target = further
    summits = np.flatnonzero(step.ravel() == 0)
    number = np.empty(height.size, np.int64)
    number[summits] = np.arange(len(summits))
    return number[target].reshape(height.shape), summits


def _find_passes(labels: Ints, height: Image) -> _Passes:
    """Every place where neighbouring cells belong to different hills; the lower cell is it."""
    n_cols = labels.shape[1]
    flat_labels, flat_height = labels.ravel(), height.ravel()
    here, there = [], []
    for down, right in _FORWARD:
        rows, columns = slice(0, len(labels) - down), slice(max(0, -right), n_cols - max(0, right))
        ahead = slice(columns.start + right, columns.stop + right)
        differ = np.zeros(labels.shape, bool)
        np.not_equal(labels[rows, columns], labels[down:, ahead], out=differ[rows, columns])
        cell = np.flatnonzero(differ)
        here.append(cell)
        there.append(cell + (down * n_cols + right))
    a, b = np.concatenate(here), np.concatenate(there)
    return _Passes(flat_labels[a], flat_labels[b], np.where(flat_height[a] <= flat_height[b], a, b))


def _prune(land: _Landscape, passes: _Passes, rule: ValleyRule) -> tuple[Ints, _Passes]:
    """Merge, many at a time, the hills whose own highest pass shows no valley at all.

    If a hill's highest pass leads to a higher hill, the merge tree ends it exactly there whatever
    happens elsewhere, so all such hills can be judged at once. A few rounds leave few hills, for
    which a plain loop is fast enough. Masses move along.
    """
    every = np.arange(len(land.summits))
    merged = every
    while len(passes.cells):
        hills = np.concatenate([passes.first, passes.second])
        others = np.concatenate([passes.second, passes.first])
        cells = np.concatenate([passes.cells, passes.cells])
        order = np.lexsort((land.height[cells], hills))
        hills, others, cells = hills[order], others[order], cells[order]
        highest = np.append(hills[1:] != hills[:-1], True)
        hills, others, cells = hills[highest], others[highest], cells[highest]
        ends = land.is_lower(hills, others) & (land.depths(hills, cells, rule) <= 0.0)
        if not ends.any():
            break
        step = every.copy()
        step[hills[ends]] = others[ends]
        while not np.array_equal(step[step], step):
            step = step[step]
        merged = step[merged]
        land.masses = np.bincount(step, land.masses, len(every)).astype(np.float64)
        passes = passes.relabelled(step, land.height)
    return merged, passes


def _merge(
    land: _Landscape, passes: _Passes, rule: ValleyRule
) -> tuple[Ints, list[tuple[float, float]]]:
    """The merge tree of the hills left: each hill's blob, and the summits that did not count."""
    owner = np.arange(len(land.summits))
    component = owner.copy()
    shares = land.masses / land.masses.sum()
    rejected = []
    for edge in np.argsort(-land.height[passes.cells], kind="stable").tolist():
        a, b = component[passes.first[edge]], component[passes.second[edge]]
        if a == b:
            continue
        younger, elder = (a, b) if land.is_lower(a, b) else (b, a)
        depth = float(land.depths(younger, passes.cells[edge], rule))
        component[component == younger] = elder
        if depth < rule.min_depth or shares[younger] < rule.min_share:
            rejected.append((depth, float(shares[younger])))
            # Across the pass lies the blob that it belongs to, not always the eldest's own.
            blob = owner[passes.second[edge] if a == younger else passes.first[edge]]
            shares[blob] += shares[younger]
            owner[owner == younger] = blob
    return owner, rejected
