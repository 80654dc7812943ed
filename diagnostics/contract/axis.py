"""One axis of the density grid: which bin a weight falls into, and what a bin means."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

# An axis is linear up to about this many robust standard deviations and logarithmic beyond, so
# that a heavy tail costs few bins and a tight centre keeps its resolution.
LINEAR_REACH = 3.0
# A weight's bin is looked up by its sign, its exponent and this many bits of its mantissa.
MANTISSA_BITS = 11
KEY_SHIFT = 23 - MANTISSA_BITS
N_KEYS = 1 << (32 - KEY_SHIFT)


@dataclass(frozen=True, slots=True)
class GridAxis:
    """How one axis's bins map to weight values.

    A weight ``x`` sits at ``u = LINEAR_REACH * asinh((x - center) / (LINEAR_REACH * scale))``;
    the bins divide ``[low, high]`` in ``u`` evenly.
    """

    center: float
    scale: float
    low: float
    high: float
    n_bins: int

    def offsets(self, positions: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Distances from ``center`` at bin positions (0 is the lower edge of the first bin)."""
        u = self.low + np.asarray(positions, np.float64) * ((self.high - self.low) / self.n_bins)
        return self.scale * (LINEAR_REACH * np.sinh(u / LINEAR_REACH))

    def values(self, positions: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Weight values at bin positions."""
        return self.center + self.offsets(positions)

    def edges(self) -> npt.NDArray[np.float64]:
        """The ``n_bins + 1`` bin edges, in weight values."""
        return self.values(np.arange(self.n_bins + 1))

    def centers(self) -> npt.NDArray[np.float64]:
        """The middle of each bin, in weight values."""
        edges = self.edges()
        return 0.5 * (edges[1:] + edges[:-1])

    def widths(self) -> npt.NDArray[np.float64]:
        """The width of each bin, in weight values (0 where a whole axis is one value)."""
        return np.diff(self.edges())

    def bin_table(self, unit: float) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The bins in the order of the keys, and how many keys each has (``N_KEYS`` in all).

        The key of ``z = (x - center) / unit`` is its float32 bits without the last ``KEY_SHIFT``:
        positive numbers come first and ascend, negative ones follow and descend. An edge is met
        to within half a unit of the last of ``MANTISSA_BITS`` bits.
        """
        if not self.high > self.low:
            return np.zeros(1, np.int64), np.full(1, N_KEYS)
        inner = (self.offsets(np.arange(1, self.n_bins)) / unit).astype(np.float32)
        above, below = inner[inner > 0], -inner[inner < 0][::-1]
        bins = np.arange(self.n_bins)
        lengths = []
        for edges in (above, below):
            # Rounded: of the keys that an edge cuts, each goes where most of it lies.
            starts = (edges.view(np.int32).astype(np.int64) + (1 << KEY_SHIFT - 1)) >> KEY_SHIFT
            lengths.append(np.diff(starts, prepend=0, append=N_KEYS // 2))
        order = np.concatenate([bins[self.n_bins - 1 - len(above) :], bins[len(below) :: -1]])
        return order, np.concatenate(lengths)


def fit_axis(sample: npt.NDArray[np.float64], span: tuple[float, float], n_bins: int) -> GridAxis:
    """Centre and scale from a sample's quantiles, range from the exact extremes.

    Args:
        sample: (n,) finite weights; may be empty.
        span: the lowest and the highest of all finite weights.
        n_bins: number of bins.
    """
    low, high = span
    if not high > low:
        return GridAxis(center=low, scale=1.0, low=0.0, high=0.0, n_bins=n_bins)
    center, scale = 0.5 * (low + high), 0.0
    if len(sample):
        q01, q25, q50, q75, q99 = np.quantile(sample, [0.01, 0.25, 0.5, 0.75, 0.99]).tolist()
        center = min(max(q50, low), high)
        # 1.349 and 4.653: a normal distribution's quartile and 1-99 % distances. The second
        # term stops a spike that holds half the weights from setting the scale of the rest.
        scale = max((q75 - q25) / 1.349, (q99 - q01) / 4.653 / 10.0)
    if scale <= 1e-12 * (high - low):
        scale = 0.125 * (high - low)
    center = _round_center(center, scale)
    if not (0.0 < scale < math.inf and 1.0 / scale < math.inf):
        return GridAxis(center=center, scale=1.0, low=0.0, high=0.0, n_bins=n_bins)
    ends = [LINEAR_REACH * math.asinh((v - center) / scale / LINEAR_REACH) for v in span]
    return GridAxis(center=center, scale=scale, low=ends[0], high=ends[1], n_bins=n_bins)


def _round_center(center: float, scale: float) -> float:
    """A centre near by that costs no digits when it is subtracted from float32 weights.

    Zero rounds nothing at all; a float32 number rounds nothing of weights between its half and
    its double, and elsewhere less than the weights are away from zero.
    """
    for rounded in (0.0, float(np.float32(center))):
        if abs(center - rounded) < scale / 16.0:
            return rounded
    return center
