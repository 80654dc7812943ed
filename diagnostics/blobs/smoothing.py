"""Density with a bandwidth that follows the counts: fine where pairs are many, wide where few.

Every cell gets the smallest Gaussian kernel that holds about ``target_count`` pairs (a balloon
estimator, see Terrell and Scott 1992, "Variable kernel density estimation", section 2), so the
statistical error is the same fraction of the density everywhere: 1 / sqrt(target_count). That is
what lets one rule judge a valley in the crowded centre and one in a sparse tail.

N below is the grid's bins per axis.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from diagnostics.contract.density import DensityGrid, GridAxis

Floats = npt.NDArray[np.float32]

# The grid is halved until this many bins are left. There one kernel of a quarter of the whole
# picture ends the series: it is positive everywhere, so that no cell is without an estimate.
N_COARSEST = 16
# Up to this many distinct levels an axis is taken at its word (blobs may be single values);
# above, empty bins between levels are the rounding of a number format, and are smoothed over.
MAX_TRUE_LEVELS = 8


@dataclass(frozen=True, slots=True)
class SmoothDensity:
    """A density estimate and what it rests on, both (N, N).

    The log of the pairs per unit area of weight space (up to a constant), and the number of pairs
    that each estimate rests on.
    """

    log_density: Floats
    support: Floats


@lru_cache(maxsize=16)
def _gaussian_matrix(n_bins: int, bandwidth: float) -> Floats:
    """The (n_bins, n_bins) matrix that smooths one axis by ``bandwidth`` bins."""
    offsets = np.arange(n_bins)[:, None] - np.arange(n_bins)[None, :]
    weights = np.exp(-0.5 * (offsets / bandwidth) ** 2) / (bandwidth * math.sqrt(2.0 * math.pi))
    return weights.astype(np.float32)


def _blur(image: Floats) -> Floats:
    """Smooth by the binomial kernel (1, 6, 15, 20, 15, 6, 1) / 64, of variance 1.5, both ways."""
    for along_rows in (True, False):
        out = image * np.float32(20 / 64)
        # The same arithmetic on either axis, without a transposed copy.
        target, source = (out, image) if along_rows else (out.T, image.T)
        for shift, weight in ((1, 15 / 64), (2, 6 / 64), (3, 1 / 64)):
            part = source * np.float32(weight)
            target[shift:] += part[:-shift]
            target[:-shift] += part[shift:]
        image = out
    return image


def _halve(image: Floats) -> Floats:
    rows = image[::2] + image[1::2]
    return rows[:, ::2] + rows[:, 1::2]


def _double(image: Floats) -> Floats:
    """Linear interpolation onto a grid of half the spacing; constant beyond the last centres."""
    for _ in range(2):
        near, out = image * np.float32(0.75), np.empty((2 * len(image), image.shape[1]), np.float32)
        far = image * np.float32(0.25)
        out[0], out[-1] = image[0], image[-1]
        out[2::2] = near[1:] + far[:-1]
        out[1:-1:2] = near[:-1] + far[1:]
        image = np.ascontiguousarray(out.T)
    return image


def _kernel_series(counts: Floats) -> list[tuple[Floats, float]]:
    """The counts under kernels of growing variance, at a resolution that falls along with it.

    Entries are (smoothed pairs per cell of that resolution, kernel variance in finest bins); the
    standard deviations are 1.2, 1.7, 3.0, 3.9, 6.2, 7.9 ... bins.
    """
    series: list[tuple[Floats, float]] = []
    image, variance, cell = counts, 0.0, 1
    while True:
        for _ in range(2):
            image = _blur(image)
            variance += 1.5 * cell**2
            series.append((image, variance))
        if len(image) <= N_COARSEST:
            break
        # Summing two cells adds the variance of two points half a cell either side.
        image, variance, cell = _halve(image), variance + 0.25 * cell**2, 2 * cell
    wide = _gaussian_matrix(len(image), len(image) / 4.0)
    last = (wide @ image @ wide).astype(np.float32)
    series.append((last, variance + (len(counts) / 4) ** 2))
    return series


def find_level_spacing(marginal: Floats) -> float:
    """The spacing in bins of an axis that only takes few values (0: it is continuous).

    ``marginal`` is (N,), the pairs in each bin of the axis.
    """
    occupied = np.flatnonzero(marginal)
    if len(occupied) <= MAX_TRUE_LEVELS:
        return 0.0
    gaps = np.diff(occupied).astype(np.float64)
    nearest = np.minimum(np.append(gaps, np.inf), np.insert(gaps, 0, np.inf))
    # The spacing below which 98 % of the mass sits: stray values in a tail don't count.
    order = np.argsort(nearest)
    mass = np.cumsum(marginal[occupied][order])
    spacing = float(nearest[order][np.searchsorted(mass, 0.98 * mass[-1])])
    return spacing if spacing >= 2.0 else 0.0


@dataclass(frozen=True, slots=True)
class Kernels:
    """A grid's counts under kernels of all widths, from which densities are made.

    Attributes:
        series: See `_kernel_series`.
        extra: Standard deviation of what was smoothed over on each axis before, in bins.
        log_area: Log of the cells' areas over the smallest, by axis: (N, 1) and (1, N).
    """

    series: list[tuple[Floats, float]]
    extra: list[float]
    log_area: tuple[Floats, Floats]

    @classmethod
    def of(cls, grid: DensityGrid) -> Kernels:
        """Smooth a grid by every kernel."""
        counts = grid.counts.astype(np.float32)
        spacing = [find_level_spacing(counts.sum(axis=a)) for a in (1, 0)]
        # Half a spacing leaves a ripple of under 2 % between levels.
        extra = [round(0.5 * s, 1) for s in spacing]
        if extra[0]:
            counts = _gaussian_matrix(len(counts), extra[0]) @ counts
        if extra[1]:
            counts = counts @ _gaussian_matrix(len(counts), extra[1])
        rows, columns = (_log_widths(axis) for axis in (grid.encoder_axis, grid.decoder_axis))
        return cls(_kernel_series(counts), extra, (rows[:, None], columns[None, :]))

    def density(self, target_support: float) -> SmoothDensity:
        """Estimate the density of the grid's cells, each from about ``target_support`` pairs."""
        log_density, log_support = _balance(self.series, self.extra, math.log(target_support))
        for log_widths in self.log_area:
            log_density -= log_widths
        return SmoothDensity(log_density, np.exp(log_support))


def _log_widths(axis: GridAxis) -> Floats:
    """Log of the bins' widths over the smallest; zeros on a constant axis."""
    widths = axis.widths()
    return np.log(widths / widths.min() if widths.min() > 0 else 1.0 + widths).astype(np.float32)


def _balance(
    series: list[tuple[Floats, float]], extra: list[float], log_target: float
) -> tuple[Floats, Floats]:
    """Log pairs per finest bin and log support, (N, N), from the kernel that fits each cell.

    From the widest kernel to the narrowest: a cell goes on to the next as long as its support is
    above the target. Where the next falls short, the kernel that holds exactly the target lies in
    between, and interpolating keeps the estimate continuous in position and between epochs.
    """
    n_bins = len(series[0][0])
    density = support = np.empty((0, 0), np.float32)
    for image, variance in reversed(series):
        # 4 pi sd sd is one over the sum of a Gaussian kernel's squared weights: how many bins'
        # worth of pairs an estimate rests on.
        width = 4.0 * math.pi * math.sqrt((variance + extra[0] ** 2) * (variance + extra[1] ** 2))
        shift = np.float32(math.log(width))
        per_bin = np.float32((len(image) / n_bins) ** 2)
        if not density.size:
            density = np.log(image * per_bin)
            support = density + shift
            continue
        while len(density) < len(image):
            density, support = _double(density), _double(support)
        # Cells at the target have settled; a small margin keeps rounding from reopening them.
        cells = np.flatnonzero(support > log_target + 1e-4)
        coarse, coarse_support = density.ravel()[cells], support.ravel()[cells]
        fine = np.log(image.ravel()[cells] * per_bin + np.float32(1e-30))
        drop = np.maximum(coarse_support - (fine + shift), np.float32(1e-6))
        part = np.minimum((coarse_support - np.float32(log_target)) / drop, np.float32(1.0))
        density.ravel()[cells] = coarse + part * (fine - coarse)
        support.ravel()[cells] = coarse_support + part * (fine + shift - coarse_support)
    return density, support
