"""Gaussian mixtures of 1 to 6 components, fitted to all weight pairs through the density grid.

Every occupied cell of the grid is a point that counts as often as pairs lie in it, so the fit sees
all pairs at the cost of some ten thousand points; what it loses is the place of a pair within its
cell, and the variance of that place enters the fit (Sheppard's correction in reverse).

Shapes: C occupied cells, K components.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diagnostics.contract.density import DensityGrid

Floats = NDArray[np.float64]
MAX_COMPONENTS = 6
MAX_STEPS = 300
SHORT_STEPS = 25
TOLERANCE = 1e-6
"""Gain in mean log-likelihood per pair at which a fit has settled."""
N_RANDOM_STARTS = 3


@dataclass(frozen=True, slots=True)
class Mixture:
    """A fitted mixture in standardised coordinates.

    Attributes:
        weights: Share of each component, (K,).
        means: (K, 2).
        covariances: (K, 2, 2).
        log_likelihood: Mean over the pairs.
        converged: Whether the fit had settled when it stopped.
    """

    weights: Floats
    means: Floats
    covariances: Floats
    log_likelihood: float
    converged: bool = False


@dataclass(frozen=True, slots=True)
class WeightedPoints:
    """The occupied cells of a grid.

    Attributes:
        points: Their middles in standard deviations, (C, 2).
        powers: 1, x, y, x^2, x y, y^2 of the points, (C, 6).
        weights: Share of the pairs, (C,).
        spread: Variance of a pair's place within its cell, (C, 2).
    """

    points: Floats
    powers: Floats
    weights: Floats
    spread: Floats


def fit_mixtures(
    grid: DensityGrid, *, max_components: int = MAX_COMPONENTS, seed: int = 0
) -> dict[str, Any]:
    """Fit mixtures of growing size and compare them.

    Args:
        grid: All weight pairs.
        max_components: Largest number of components.
        seed: Seed of the random starts.

    Returns:
        ``best_n_components_bic``, ``best_n_components_aic`` and ``fits``, one for each number of
        components: ``n_components``, ``log_likelihood`` (mean over pairs, of the density in units
        of both standard deviations), ``bic``, ``aic`` (Schwarz 1978, Akaike 1974; over all
        ``n_pairs``), ``converged`` and ``components``, largest first, each ``share``, ``mean``,
        ``std`` and ``correlation`` in weight units. With a constant axis or no pairs, ``fits`` is
        empty, the best numbers are None and ``reason`` says why.
    """
    result: dict[str, Any] = {
        "best_n_components_bic": None,
        "best_n_components_aic": None,
        "n_pairs": grid.n_pairs,
        "fits": [],
        "reason": None,
    }
    if not (grid.encoder_std and grid.decoder_std):
        result["reason"] = "an axis is constant" if grid.n_pairs else "no finite pairs"
        return result
    data = weighted_points(grid)
    rng = np.random.default_rng(seed)
    fit: Mixture | None = None
    for n_components in range(1, min(max_components, len(data.points)) + 1):
        fit = _best_fit(data, n_components, fit, rng)
        result["fits"].append(_describe(fit, grid))
    for criterion in ("bic", "aic"):
        best = min(result["fits"], key=lambda described: described[criterion])
        result[f"best_n_components_{criterion}"] = best["n_components"]
    return result


def weighted_points(grid: DensityGrid) -> WeightedPoints:
    """Return the occupied cells of a grid with both standard deviations positive."""
    rows, columns = np.nonzero(grid.counts)
    origin = np.array([grid.encoder_mean, grid.decoder_mean])
    unit = np.array([grid.encoder_std, grid.decoder_std])
    axes = grid.encoder_axis, grid.decoder_axis
    middle = np.column_stack([axes[0].centers()[rows], axes[1].centers()[columns]])
    widths = np.column_stack([axes[0].widths()[rows], axes[1].widths()[columns]])
    counts = grid.counts[rows, columns].astype(np.float64)
    points = (middle - origin) / unit
    x, y = points.T
    powers = np.column_stack([np.ones(len(x)), x, y, x * x, x * y, y * y])
    return WeightedPoints(points, powers, counts / counts.sum(), (widths / unit) ** 2 / 12.0)


def _best_fit(
    data: WeightedPoints, n_components: int, smaller: Mixture | None, rng: np.random.Generator
) -> Mixture:
    """From several starts a short way, from the best of them to the end."""
    starts = [_spread_start(data, n_components, rng) for _ in range(N_RANDOM_STARTS)]
    if smaller is not None:
        starts.append(_grown_start(data, smaller))
    if n_components == 1:
        return _improve(data, starts[0], MAX_STEPS)
    short = [_improve(data, start, SHORT_STEPS) for start in starts]
    return _improve(data, max(short, key=lambda fit: fit.log_likelihood), MAX_STEPS)


def _improve(data: WeightedPoints, fit: Mixture, n_steps: int) -> Mixture:
    """Expectation maximisation (Dempster, Laird, Rubin 1977) on the weighted points."""
    last = -math.inf
    for _ in range(n_steps):
        logs = _log_joint(data, fit)
        top = logs.max(axis=0)
        joint = np.exp(logs - top)
        total = joint.sum(axis=0)
        likelihood = float(data.weights @ (top + np.log(total)))
        if likelihood - last < TOLERANCE:
            return Mixture(fit.weights, fit.means, fit.covariances, likelihood, converged=True)
        last = likelihood
        fit = _maximise(data, joint * (data.weights / total), likelihood)
    return fit


def _maximise(data: WeightedPoints, shares: Floats, likelihood: float) -> Mixture:
    """The mixture with these responsibilities, (K, C), each point's summing to its weight."""
    mass = shares.sum(axis=1) + 1e-300
    x, y, xx, xy, yy = (shares @ data.powers[:, 1:] / mass[:, None]).T
    spread = shares @ data.spread / mass[:, None] + 1e-9
    covariances = np.empty((len(mass), 2, 2))
    covariances[:, 0, 0] = np.maximum(xx - x * x, 0.0) + spread[:, 0]
    covariances[:, 1, 1] = np.maximum(yy - y * y, 0.0) + spread[:, 1]
    covariances[:, 0, 1] = covariances[:, 1, 0] = xy - x * y
    return Mixture(mass / mass.sum(), np.column_stack([x, y]), covariances, likelihood)


def _log_joint(data: WeightedPoints, fit: Mixture) -> Floats:
    """Log of weight times density of each point under each component, (K, C).

    It is a quadratic form in the coordinates, so one matrix product gives all of it.
    """
    a, b, c = fit.covariances[:, 0, 0], fit.covariances[:, 0, 1], fit.covariances[:, 1, 1]
    determinant = np.maximum(a * c - b * b, 1e-300)
    p, q, r = c / determinant, -b / determinant, a / determinant
    u, v = fit.means.T
    constant = np.log(fit.weights + 1e-300) - 0.5 * np.log(determinant) - math.log(2.0 * math.pi)
    constant -= 0.5 * (p * u * u + 2.0 * q * u * v + r * v * v)
    terms = [constant, p * u + q * v, q * u + r * v, -0.5 * p, -q, -0.5 * r]
    # Components first: reductions over them then run along contiguous rows.
    joint: Floats = np.stack(terms, axis=1) @ data.powers.T
    return joint


def _spread_start(data: WeightedPoints, n_components: int, rng: np.random.Generator) -> Mixture:
    """Centres far apart, as k-means++ draws them (Arthur and Vassilvitskii 2007)."""
    centers = [data.points[rng.choice(len(data.points), p=data.weights)]]
    while len(centers) < n_components:
        away = np.min([((data.points - c) ** 2).sum(axis=1) for c in centers], axis=0)
        chance = data.weights * away
        centers.append(data.points[rng.choice(len(data.points), p=chance / chance.sum())])
    distances = np.stack([((data.points - c) ** 2).sum(axis=1) for c in centers])
    nearest = np.eye(n_components)[:, distances.argmin(axis=0)]
    return _maximise(data, nearest * data.weights, -math.inf)


def _grown_start(data: WeightedPoints, smaller: Mixture) -> Mixture:
    """The smaller mixture, and a new component where it explains the pairs worst."""
    logs = _log_joint(data, smaller)
    surprise = -logs.max(axis=0)
    worst = surprise >= np.quantile(surprise, 0.9)
    heaviest = np.flatnonzero(worst)[np.argmax((data.weights * surprise)[worst])]
    near = ((data.points - data.points[heaviest]) ** 2).sum(axis=1) < 0.25
    share = max(1e-4, 0.5 * float(data.weights[near].sum()))
    return Mixture(
        np.append(smaller.weights * (1.0 - share), share),
        np.vstack([smaller.means, data.points[heaviest]]),
        np.concatenate([smaller.covariances, 0.1 * np.eye(2)[None]]),
        -math.inf,
    )


def _describe(fit: Mixture, grid: DensityGrid) -> dict[str, Any]:
    n_components = len(fit.weights)
    n_parameters = 6 * n_components - 1
    total = fit.log_likelihood * grid.n_pairs
    origin = np.array([grid.encoder_mean, grid.decoder_mean])
    unit = np.array([grid.encoder_std, grid.decoder_std])
    components = []
    for k in np.argsort(-fit.weights, kind="stable").tolist():
        std = np.sqrt(fit.covariances[k].diagonal())
        components.append(
            {
                "share": float(fit.weights[k]),
                "mean": (origin + unit * fit.means[k]).tolist(),
                "std": (unit * std).tolist(),
                "correlation": float(fit.covariances[k, 0, 1] / (std[0] * std[1])),
            }
        )
    return {
        "n_components": n_components,
        "log_likelihood": fit.log_likelihood,
        "bic": n_parameters * math.log(grid.n_pairs) - 2.0 * total,
        "aic": 2.0 * n_parameters - 2.0 * total,
        "converged": fit.converged,
        "components": components,
    }
