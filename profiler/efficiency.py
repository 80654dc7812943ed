"""Statistical efficiency: how many steps a batch size needs. Pure: numbers only.

Source: McCandlish et al. 2018, arXiv:1812.06162: the simple noise scale (section 2.2, appendix
A.1) and the trade between steps and samples (section 2.3). B: batch size, S: steps, T: seconds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from profiler.measure import N_RESAMPLES, Estimate

Curve = Sequence[tuple[float, float]]
Moments = tuple[int, float, float]
SMOOTHED_POINTS = 3
MEDIAN_OF_THREE = 0.67
"""Standard deviation of the median of three normal numbers, in units of theirs."""
BAD_FIT = 0.25
"""Relative misfit of S(B) above which its extrapolation is not shown."""


@dataclass(frozen=True, slots=True)
class NoiseScale:
    """B_simple = tr(S)/|G|^2 in samples, or None with the reason."""

    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class StepsFit:
    """S(B) = s_min (1 + b_noise/B); ``misfit`` is the largest relative residual."""

    s_min: float
    b_noise: float
    misfit: float

    def steps(self, size: float) -> float:
        """Return the steps that a batch size needs."""
        return self.s_min * (1 + self.b_noise / size)


@dataclass(frozen=True, slots=True)
class TimeFit:
    """Step time ``overhead_s + sample_s * B``, the a + bB of the report."""

    overhead_s: float
    sample_s: float

    def step_s(self, size: float) -> float:
        """Return the seconds of a step."""
        return self.overhead_s + self.sample_s * size


def noise_scale(moments: Sequence[Moments], *, plateau: bool = False, seed: int = 0) -> NoiseScale:
    """Return the noise scale of one moment in training: means first, then the quotient.

    A mean of quotients would be biased, and dominated by batches whose |G|^2 is near zero.

    Args:
        moments: Of several independent batches: samples, tr(S), |G|^2.
        plateau: Whether the loss is still near that of predicting zero; then |G|^2 says nothing
            about the way ahead.
        seed: Of the bootstrap over batches.
    """
    if plateau:
        return NoiseScale(None, reason="refused: the loss is still near that of predicting zero")
    if len(moments) < 2:
        return NoiseScale(None, reason="not measured")
    table: NDArray[np.float64] = np.asarray(moments, dtype=np.float64)[:, 1:]
    trace, norm = table.mean(axis=0)
    error = table[:, 1].std(ddof=1) / math.sqrt(len(table))
    if norm <= 2 * error or norm <= 0:
        return NoiseScale(None, reason="refused: the gradient cannot be told from zero")
    generator = np.random.default_rng(seed)
    rows = table[generator.integers(len(table), size=(N_RESAMPLES, len(table)))].mean(axis=1)
    ratios = rows[:, 0] / np.maximum(rows[:, 1], np.finfo(float).tiny)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return NoiseScale(float(trace / norm), float(low), float(high))


def fit_steps(steps: dict[int, float]) -> StepsFit | None:
    """Fit S(B) to measured steps by relative least squares; None for fewer than two sizes.

    Both parameters are kept from being negative: then the steps do not fall with the size at all
    (``b_noise`` 0), or fall as 1/B throughout (which is given as a very large ``b_noise``).
    """
    if len(steps) < 2:
        return None
    sizes = np.array(sorted(steps), dtype=np.float64)
    seen = np.array([steps[int(size)] for size in sizes])
    constant, inverse = _nonnegative_fit(1 / seen, 1 / (sizes * seen))
    predicted = constant + inverse / sizes
    s_min = max(constant, 1e-9 * float(seen.min()))
    misfit = float(np.max(np.abs(predicted / seen - 1)))
    return StepsFit(float(s_min), float(inverse / s_min), misfit)


def fit_step_time(step_s: dict[int, float]) -> TimeFit | None:
    """Fit a + bB to seconds a step by relative least squares; None for fewer than two sizes."""
    if len(step_s) < 2:
        return None
    sizes = np.array(sorted(step_s), dtype=np.float64)
    seen = np.array([step_s[int(size)] for size in sizes])
    overhead, slope = _nonnegative_fit(1 / seen, sizes / seen)
    return TimeFit(float(overhead), float(slope))


def _nonnegative_fit(
    first: NDArray[np.float64], second: NDArray[np.float64]
) -> tuple[float, float]:
    """Return c, e >= 0 with the least squares of ``c first + e second - 1``."""
    both = np.linalg.lstsq(np.stack([first, second], axis=1), np.ones(len(first)), rcond=None)[0]
    if (both >= 0).all():
        return float(both[0]), float(both[1])
    alone = [(float(f.sum() / (f * f).sum()), f) for f in (first, second)]
    misfits = [float(((c * f - 1) ** 2).sum()) for c, f in alone]
    return (alone[0][0], 0.0) if misfits[0] <= misfits[1] else (0.0, alone[1][0])


def best_size(steps: StepsFit, time: TimeFit) -> float | None:
    """Return B* = sqrt(B_n a/b), where S(B)(a + bB) is least; None if samples cost nothing."""
    if time.sample_s <= 0:
        return None
    return math.sqrt(steps.b_noise * time.overhead_s / time.sample_s)


def target_time(steps: float, step_s: float) -> float:
    """Return T = S t, the seconds to the target."""
    return steps * step_s


def smoothed(curve: Curve) -> list[tuple[float, float]]:
    """Return the running median of `SMOOTHED_POINTS` points: one lucky batch does not move it."""
    if len(curve) < SMOOTHED_POINTS:
        return list(curve)
    table: NDArray[np.float64] = np.asarray(curve, dtype=np.float64)
    losses = table[:, 1].copy()
    neighbours = np.lib.stride_tricks.sliding_window_view(table[:, 1], SMOOTHED_POINTS)
    losses[1:-1] = np.median(neighbours, axis=1)
    losses[0], losses[-1] = table[:2, 1].mean(), table[-2:, 1].mean()
    return list(zip(table[:, 0].tolist(), losses.tolist(), strict=True))


def curve_noise(curve: Curve) -> float:
    """Return the standard error of a smoothed point, from differences of neighbours."""
    if len(curve) < 4:
        return 0.0
    # Robust to the steep beginning: the median, not the mean, of the later half's differences.
    losses = np.array([loss for _, loss in curve])[len(curve) // 2 :]
    spread = float(np.median(np.abs(np.diff(losses)))) / 0.6745 / math.sqrt(2)
    return MEDIAN_OF_THREE * spread


def steps_to(curve: Curve, target: float) -> Estimate | None:
    """Return the steps until the training loss was ``target``, or None if it never was.

    Each training sample is fresh, so the training loss before a step estimates the test loss.

    Args:
        curve: Steps taken and mean loss around them, in order.
        target: The loss to reach.
    """
    points = smoothed(curve)
    noise = curve_noise(curve)
    value = _first_crossing(points, target)
    if value is None:
        return None
    low = _first_crossing(points, target + noise)
    high = _first_crossing(points, target - noise)
    return Estimate(value, value if low is None else low, points[-1][0] if high is None else high)


def _first_crossing(points: Curve, target: float) -> float | None:
    for i, (x, loss) in enumerate(points):
        if loss > target:
            continue
        following = sorted(later for _, later in points[i : i + SMOOTHED_POINTS])
        if following[len(following) // 2] <= target:
            if i == 0:
                return max(x, 0.5)
            x0, before = points[i - 1]
            share = (before - target) / (before - loss) if before > loss else 1.0
            return x0 + min(1.0, max(0.0, share)) * (x - x0)
    return None
