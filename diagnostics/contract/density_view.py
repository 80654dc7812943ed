"""What part of weight space a picture shows, and the density there on an even raster.

N below is the grid's bins per axis, R the raster's cells per axis. Pure numbers, no matplotlib.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diagnostics.contract.density import DensityGrid, GridAxis

Floats = NDArray[np.float64]
Limits = tuple[float, float]

RASTER = 560
OUTLIER_SHARE = 1e-5
"""Beyond the quantiles of this share a few stray pairs may not stretch an axis."""
MAX_STRETCH = 1.6
MARGIN = 0.05
MAX_DECADES = 6.0


@dataclass(frozen=True, slots=True)
class View:
    """A window of weight space and ranges of densities.

    Attributes:
        encoder, decoder: Limits of the window, in weights.
        density: Range of the colours, share of the pairs per unit area.
        encoder_marginal, decoder_marginal: Ranges of the marginal densities.
    """

    encoder: Limits
    decoder: Limits
    density: Limits
    encoder_marginal: Limits
    decoder_marginal: Limits

    def n_outside(self, grid: DensityGrid) -> int:
        """Return how many pairs lie in cells whose middle is outside the window."""
        inside = [
            (axis.centers() >= low) & (axis.centers() <= high)
            for axis, (low, high) in (
                (grid.encoder_axis, self.encoder),
                (grid.decoder_axis, self.decoder),
            )
        ]
        return grid.n_pairs - int(grid.counts[np.ix_(*inside)].sum(dtype=np.int64))


def view_of(grids: Sequence[DensityGrid]) -> View:
    """Return the window that shows all of these grids, on one colour scale.

    Each axis reaches to the extreme weights, unless a few of them (a share of 1e-5) would stretch
    it beyond 1.6 times what the others need.
    """
    grids = [grid for grid in grids if grid.n_pairs]
    if not grids:
        return View(*2 * ((-1.0, 1.0),), *3 * ((0.1, 1.0),))
    encoder = [(g.encoder_axis, g.counts.sum(axis=1)) for g in grids]
    decoder = [(g.decoder_axis, g.counts.sum(axis=0)) for g in grids]
    low, high = _union([_density_range(g) for g in grids])
    return View(
        _padded(_union([_limits(*side) for side in encoder])),
        _padded(_union([_limits(*side) for side in decoder])),
        (max(low, high * 10.0**-MAX_DECADES), high),
        _union([_marginal_range(*side) for side in encoder]),
        _union([_marginal_range(*side) for side in decoder]),
    )


def marginal(axis: GridAxis, counts: NDArray[np.integer]) -> tuple[Floats, Floats]:
    """Return the edges (N + 1,) and the densities (N,) of one axis; the densities integrate to 1.

    Args:
        axis: The axis.
        counts: Pairs in each of its bins, (N,).
    """
    edges = axis.edges()
    if edges[-1] <= edges[0]:  # a constant axis: one bar of a nominal width
        width = abs(edges[0]) * 1e-3 or 1e-3
        return np.array([edges[0] - width, edges[0] + width]), np.array([0.5 / width])
    return edges, counts / (np.diff(edges) * max(1, counts.sum()))


def raster(grid: DensityGrid, view: View, size: int = RASTER) -> Floats:
    """Return the density on an even raster over the window, (R, R), decoder by encoder.

    A cell's pairs are spread over it and its direct neighbours (1, 2, 1), which hides the grid's
    own pattern without removing anything: a single pair stays a visible dot. 0 is empty.
    """
    widths = np.outer(_widths(grid.encoder_axis), _widths(grid.decoder_axis))
    density = np.pad(grid.counts / (widths * max(1, grid.n_pairs)), 1)
    density = _spread(_spread(density).T).T
    rows = _interpolation(grid.encoder_axis, view.encoder, size)
    columns = _interpolation(grid.decoder_axis, view.decoder, size)
    even: Floats = columns @ density.T @ rows.T
    # Interpolation fades to nothing around a pair; what is left of one anywhere is drawn.
    faintest = density[1:-1, 1:-1][grid.counts > 0].min(initial=math.inf)
    even[even < 0.25 * faintest] = 0.0
    return even


def _spread(image: Floats) -> Floats:
    out = 0.5 * image
    out[1:] += 0.25 * image[:-1]
    out[:-1] += 0.25 * image[1:]
    return out


def _interpolation(axis: GridAxis, limits: Limits, size: int) -> Floats:
    """The matrix (R, N + 2) from values at bin centres, one empty bin at each end, to the raster's.

    Linear between centres; 0 beyond the empty bins.
    """
    at = limits[0] + (np.arange(size) + 0.5) * ((limits[1] - limits[0]) / size)
    matrix = np.zeros((size, axis.n_bins + 2))
    if axis.high <= axis.low:
        nearest = int(np.argmin(np.abs(at - axis.center)))
        matrix[max(0, nearest - 1) : nearest + 2, 1] = 1.0
        return matrix
    centers = axis.values(np.arange(-1, axis.n_bins + 1) + 0.5)
    inside = np.flatnonzero((at >= centers[0]) & (at <= centers[-1]))
    right = np.clip(np.searchsorted(centers, at[inside]), 1, len(centers) - 1)
    part = (at[inside] - centers[right - 1]) / (centers[right] - centers[right - 1])
    matrix[inside, right - 1] = 1.0 - part
    matrix[inside, right] = part
    return matrix


def _widths(axis: GridAxis) -> Floats:
    widths = axis.widths()
    return widths if widths.min() > 0 else np.full(len(widths), abs(axis.center) * 1e-3 or 1e-3)


def _limits(axis: GridAxis, counts: NDArray[np.integer]) -> Limits:
    """The reach of one axis, without the outliers that would stretch it too far."""
    edges = axis.edges()
    low, high = float(edges[0]), float(edges[-1])
    cumulative = np.cumsum(counts) / counts.sum()
    first = float(edges[np.searchsorted(cumulative, OUTLIER_SHARE)])
    last = float(edges[1 + np.searchsorted(cumulative, 1.0 - OUTLIER_SHARE - 1e-12)])
    middle, half = 0.5 * (first + last), 0.5 * MAX_STRETCH * (last - first)
    return max(low, middle - half), min(high, middle + half)


def _union(limits: Sequence[Limits]) -> Limits:
    return min(low for low, _ in limits), max(high for _, high in limits)


def _padded(limits: Limits) -> Limits:
    low, high = limits
    pad = MARGIN * (high - low) or abs(low) * 0.1 or 1.0
    return low - pad, high + pad


def _marginal_range(axis: GridAxis, counts: NDArray[np.integer]) -> Limits:
    """From under the sparsest occupied bin to above the fullest, for a logarithmic axis."""
    _, density = marginal(axis, counts)
    return 0.4 * float(density[density > 0].min()), 2.0 * float(density.max())


def _density_range(grid: DensityGrid) -> Limits:
    """From a fifth of the sparsest occupied cells' density, but for the last 2 %, to the peak.

    A fifth, because a lone pair is spread over its neighbours when it is drawn.
    """
    widths = np.outer(_widths(grid.encoder_axis), _widths(grid.decoder_axis))
    occupied = grid.counts > 0
    density = grid.counts[occupied] / (widths[occupied] * grid.n_pairs)
    low, high = 0.2 * float(np.quantile(density, 0.02)), float(density.max())
    return (low, high) if math.isfinite(high) and high > 0 else (0.1, 1.0)
