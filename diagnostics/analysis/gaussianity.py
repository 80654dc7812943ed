"""How Gaussian a blob is.

A blob's pairs are whitened with their own mean and covariance; for a Gaussian blob the squared
radius is then chi-square with two degrees of freedom, and the angle is uniform. A blob ends at
its valleys, so even a perfect Gaussian loses what lies beyond them.

Intervals hold at 95 % and are those of n independent draws, n being the pairs used: all of a blob
or a sample of it, as ``n_used`` says. Shapes: n pairs, P projections.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr

Floats = NDArray[np.float64]
MAX_SAMPLE = 200_000
MIN_PAIRS = 20
TAIL_RADII = (2.0, 3.0, 4.0)
N_PROJECTIONS = 64
PROJECTION_SAMPLE = 2_000
"""The statistic of a slightly non-Gaussian blob grows with n: a fixed n makes blobs comparable."""
CRITICAL_A2 = 0.752
"""Five per cent point of A2 with mean and variance estimated (Stephens 1986, table 4.7)."""
Z95 = 1.959964


def blob_gaussianity(
    pairs: NDArray[np.floating], *, max_sample: int = MAX_SAMPLE, seed: int = 0
) -> dict[str, Any]:
    """Test one blob.

    Args:
        pairs: Its weight pairs, (n, 2), finite.
        max_sample: Of more pairs than this, so many are drawn without replacement.
        seed: Seed of the sample and of the projections.

    Returns:
        ``n_pairs``, ``n_used``; ``reason`` if nothing can be said (fewer than 20 pairs, or all on
        a line), else None; and then, None otherwise: ``radial_ks`` (`radial_distance`), ``tails``
        (`tail_ratios`), ``angles`` (`angular_uniformity`), ``anderson_darling``
        (`projected_normality`), ``mardia`` (`mardia_moments`).
    """
    result: dict[str, Any] = {"n_pairs": len(pairs), "n_used": min(len(pairs), max_sample)}
    result |= dict.fromkeys(
        ("reason", "radial_ks", "tails", "angles", "anderson_darling", "mardia")
    )
    rng = np.random.default_rng(seed)
    if len(pairs) < MIN_PAIRS:
        result["reason"] = f"fewer than {MIN_PAIRS} pairs"
        return result
    white = whiten(pairs)
    if white is None:
        result["reason"] = "all pairs lie on a line"
        return result
    if len(white) > max_sample:
        white = white[rng.choice(len(white), max_sample, replace=False)]
    result["radial_ks"] = radial_distance(white)
    result["tails"] = tail_ratios(white)
    result["angles"] = angular_uniformity(white)
    result["anderson_darling"] = projected_normality(white, rng)
    result["mardia"] = mardia_moments(white)
    return result


def whiten(pairs: NDArray[np.floating]) -> Floats | None:
    """Return the pairs with mean 0 and unit covariance, (n, 2); None if that is impossible."""
    exact = pairs.astype(np.float64)
    exact -= exact.mean(axis=0)
    std = exact.std(axis=0)
    if not (std > 0).all():
        return None
    exact /= std  # first: encoder and decoder may differ by orders of magnitude
    r = float((exact[:, 0] * exact[:, 1]).mean())
    if not abs(r) < 1.0 - 1e-9:
        return None
    exact[:, 1] = (exact[:, 1] - r * exact[:, 0]) / math.sqrt(1.0 - r * r)
    return exact


def radial_distance(white: Floats) -> dict[str, float]:
    """Return the Kolmogorov-Smirnov distance of the squared radius to chi-square(2).

    Returns:
        ``distance`` in [0, 1], ``low`` and ``high``: the interval of Dvoretzky, Kiefer and
        Wolfowitz with Massart's constant (1990).
    """
    squared = np.sort((white**2).sum(axis=1))
    above, below = _gaps(-np.expm1(-0.5 * squared))
    return _with_bounds(max(above, below), _massart(len(squared)))


def tail_ratios(white: Floats) -> list[dict[str, float]]:
    """Return how many pairs lie beyond 2, 3 and 4 sigma against a Gaussian's exp(-radius^2 / 2).

    Returns:
        For each radius ``radius``, ``expected_share``, ``share``, ``ratio`` and its Wilson interval
        (1927) ``low``, ``high``; 1 is Gaussian, above it heavy.
    """
    squared = (white**2).sum(axis=1)
    found = []
    for radius in TAIL_RADII:
        expected = math.exp(-0.5 * radius**2)
        n_beyond = int((squared > radius**2).sum())
        low, high = wilson_interval(n_beyond, len(squared))
        share = n_beyond / len(squared)
        found.append(
            {
                "radius": radius,
                "expected_share": expected,
                "share": share,
                "ratio": share / expected,
                "low": low / expected,
                "high": high / expected,
            }
        )
    return found


def angular_uniformity(white: Floats) -> dict[str, Any]:
    """Return how uniform the angles are.

    Returns:
        ``kuiper``: Kuiper's statistic (1960), which no rotation changes, in [0, 1], with ``low``
        and ``high``; ``harmonic``: the order out of 1 to 6 with the largest amplitude
        |mean exp(i k angle)|, that ``amplitude``, and ``null_amplitude``, which the largest of six
        stays under in 95 % of uniform samples (1 points aside, 2 is removed by whitening but for
        higher moments, 3 a triangle, 4 a cross).
    """
    angles = np.arctan2(white[:, 1], white[:, 0])
    above, below = _gaps(np.sort(angles) / (2.0 * math.pi) + 0.5)
    n = len(angles)
    bounds = _with_bounds(above + below, 2.0 * _massart(n))
    amplitudes = [float(np.hypot(np.cos(k * angles).mean(), np.sin(k * angles).mean()))
                  for k in range(1, 7)]  # fmt: skip
    largest = int(np.argmax(amplitudes))
    return {
        "kuiper": bounds["distance"],
        "low": bounds["low"],
        "high": bounds["high"],
        "harmonic": largest + 1,
        "amplitude": amplitudes[largest],
        # n * amplitude^2 is exponential with mean 1 (Rayleigh), and there are six of them.
        "null_amplitude": math.sqrt(-math.log(1.0 - 0.95 ** (1.0 / 6.0)) / n),
    }


def projected_normality(white: Floats, rng: np.random.Generator) -> dict[str, Any]:
    """Return Anderson and Darling's A2 (1954) along random directions.

    Each direction has 2,000 pairs of its own (all, if there are fewer), mean and variance estimated
    and A2 corrected for that (Stephens 1986).

    Returns:
        ``n_projections``, ``n_each``; ``median`` of A2 and its central 95 % over the projections,
        ``low`` and ``high``; ``rejected_share``: projections beyond the 5 % point, with its Wilson
        interval ``rejected_low``, ``rejected_high``. A Gaussian blob is rejected in about 5 %.
    """
    size = min(len(white), PROJECTION_SAMPLE)
    angles = rng.uniform(0.0, math.pi, N_PROJECTIONS)
    chosen = [rng.choice(len(white), size, replace=False) for _ in angles]
    lines = np.stack(
        [
            white[rows] @ (math.cos(a), math.sin(a))
            for rows, a in zip(chosen, angles.tolist(), strict=True)
        ]
    )
    statistics = anderson_darling(lines)
    n_rejected = int((statistics > CRITICAL_A2).sum())
    low, high = wilson_interval(n_rejected, N_PROJECTIONS)
    return {
        "n_projections": N_PROJECTIONS,
        "n_each": size,
        "median": float(np.median(statistics)),
        "low": float(np.quantile(statistics, 0.025)),
        "high": float(np.quantile(statistics, 0.975)),
        "rejected_share": n_rejected / N_PROJECTIONS,
        "rejected_low": low,
        "rejected_high": high,
    }


def anderson_darling(lines: Floats) -> Floats:
    """Return A2 of each row against a normal of its own mean and variance, (P,).

    Args:
        lines: (P, n), each row not constant.
    """
    n = lines.shape[1]
    standard = (lines - lines.mean(axis=1, keepdims=True)) / lines.std(
        axis=1, ddof=1, keepdims=True
    )
    standard.sort(axis=1)
    odd = 2.0 * np.arange(1, n + 1) - 1.0
    raw = -n - (log_ndtr(standard) + log_ndtr(-standard[:, ::-1])) @ odd / n
    corrected: Floats = raw * (1.0 + 0.75 / n + 2.25 / n**2)
    return corrected


def mardia_moments(white: Floats) -> dict[str, float]:
    """Return Mardia's measures (1970) of skewness and kurtosis.

    Returns:
        ``skewness`` (0 for a Gaussian); ``kurtosis``: mean fourth power of the radius (8 for a
        Gaussian), ``low`` and ``high`` from its own standard error, and ``null_std``: its standard
        error if the blob were Gaussian, sqrt(64 / n).
    """
    x, y = white.T
    third = (x**3).mean(), (x**2 * y).mean(), (x * y**2).mean(), (y**3).mean()
    fourth = (x * x + y * y) ** 2
    kurtosis = float(fourth.mean())
    error = Z95 * float(fourth.std()) / math.sqrt(len(white))
    return {
        "skewness": float(third[0] ** 2 + 3 * third[1] ** 2 + 3 * third[2] ** 2 + third[3] ** 2),
        "kurtosis": kurtosis,
        "low": kurtosis - error,
        "high": kurtosis + error,
        "null_std": math.sqrt(64.0 / len(white)),
    }


def wilson_interval(n_hits: int, n: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval for a share of ``n_hits`` in ``n``."""
    share, z2 = n_hits / n, Z95**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    # At the ends both are exact but for rounding.
    return low if n_hits > 0 else 0.0, high if n_hits < n else 1.0


def _gaps(expected: Floats) -> tuple[float, float]:
    """How far the empirical distribution is above, and below, the expected one at sorted points."""
    n = len(expected)
    steps = np.arange(1, n + 1) / n
    return float((steps - expected).max()), float((expected - steps + 1.0 / n).max())


def _massart(n: int) -> float:
    """The 95 % bound of the distance between an empirical distribution and its own truth."""
    return math.sqrt(math.log(2.0 / 0.05) / (2.0 * n))


def _with_bounds(distance: float, error: float) -> dict[str, float]:
    return {
        "distance": distance,
        "low": max(0.0, distance - error),
        "high": min(1.0, distance + error),
    }
