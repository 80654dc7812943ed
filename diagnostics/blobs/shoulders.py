"""Shoulders: where a blob will part, seen before there is a valley.

On the way outwards a unimodal density falls ever faster (normal, uniform) or ever more slowly (a
heavy tail). A density in which a blob is forming does one after the other: its fall slows down,
and then quickens again. Such a bump (Good and Gaskins 1980, "Density estimation and bump-hunting
by the penalized likelihood method") is measured along both axes, on the profile of the highest
log density at each place, in units that neither scale nor offset changes.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from diagnostics.blobs.smoothing import Kernels
from diagnostics.contract.density import DensityGrid

Floats = npt.NDArray[np.float64]

# A profile has hundreds of places at which chance could bend it, so it rests on more pairs than
# the modes do, and what is below four errors is nothing: random unimodal clouds stay below that.
SUPPORT_FACTOR = 4.0
N_ERRORS = 4.0


def find_shoulder(
    grid: DensityGrid, kernels: Kernels, target_support: float, min_share: float
) -> float:
    """Return how strongly the most distinct shoulder bends the density.

    Args:
        grid: all weight pairs; at least one.
        kernels: the same, smoothed.
        target_support: pairs that an estimate of the modes' density rests on.
        min_share: the least share of the pairs that makes a blob. Shoulders fade in between half
            of it and it, and what a quarter of it holds at either end is not looked at.

    Returns:
        1 - exp(-b) for a bend b in log density; 0 without a shoulder, towards 1 as it parts.
    """
    support = SUPPORT_FACTOR * target_support
    log_density = kernels.density(support).log_density
    strongest = 0.0
    for other, axis in ((1, grid.encoder_axis), (0, grid.decoder_axis)):
        if not axis.high > axis.low:
            continue
        pairs, ridge = grid.counts.sum(axis=other), log_density.max(axis=other).astype(np.float64)
        places = axis.centers()
        for way in (slice(None), slice(None, None, -1)):
            beyond = np.cumsum(pairs[way][::-1])[::-1] / grid.n_pairs
            end = int(np.count_nonzero(beyond > min_share / 4.0))
            start = int(np.argmax(ridge[way]))
            x, y = np.abs(places[way] - places[way][start])[start:end], ridge[way][start:end]
            for bend, place in _bends(x, y):
                fade = fade_in(float(beyond[start + place]), min_share)
                excess = max(0.0, bend - N_ERRORS / math.sqrt(support))
                strongest = max(strongest, fade * -math.expm1(-excess))
    return strongest


def fade_in(share: float, min_share: float) -> float:
    """Return 0 for shares up to half of the least, 1 from the least on: no birth makes a jump."""
    return min(1.0, max(0.0, 2.0 * share / min_share - 1.0))


def _bends(x: Floats, y: Floats) -> list[tuple[float, int]]:
    """Return the bends of a profile, each with the index of the hollow before its shoulder.

    A shoulder is a corner of the least concave line above the profile. It bends by how far the
    hollow before it lies below that line, or by how far it lies itself above the straight line
    from the hollow to a corner further out, whichever is less.
    """
    corners = _concave_corners(x.tolist(), y.tolist())
    found = []
    for k in range(len(corners) - 2):
        a, b = corners[k : k + 2]
        if b - a < 2:
            continue
        gaps = np.interp(x[a + 1 : b], x[[a, b]], y[[a, b]]) - y[a + 1 : b]
        hollow = a + 1 + int(np.argmax(gaps))
        outer = np.array(corners[k + 2 :])
        slopes = (y[outer] - y[hollow]) / (x[outer] - x[hollow])
        heights = y[b] - (y[hollow] + slopes * (x[b] - x[hollow]))
        found.append((float(min(gaps.max(), heights.max())), hollow))
    return found


def _concave_corners(x: list[float], y: list[float]) -> list[int]:
    """Return the points of the least concave line above all, by index (a monotone chain)."""
    corners: list[int] = []
    for i in range(len(x)):
        while len(corners) > 1:
            a, b = corners[-2:]
            if (y[b] - y[a]) * (x[i] - x[a]) > (y[i] - y[a]) * (x[b] - x[a]):
                break
            corners.pop()
        corners.append(i)
    return corners
