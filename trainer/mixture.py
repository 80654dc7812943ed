"""A one-dimensional Gaussian mixture of all encoder weights, and encoders drawn from it."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]
N_BINS = 4096
N_STEPS = 500
TOLERANCE = 1e-9
"""EM stops when the mean log-likelihood gains less than this in a step."""


class Mixture(msgspec.Struct, frozen=True, kw_only=True):
    """A Gaussian mixture, its components in the order of their means.

    Attributes:
        shares: Share of each component; they add up to 1.
        means: Mean of each component.
        stds: Standard deviation of each component.
    """

    shares: tuple[float, ...]
    means: tuple[float, ...]
    stds: tuple[float, ...]

    def draw(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Return a float32 tensor on the CPU with independent entries from the mixture."""
        shares = torch.tensor(self.shares, dtype=torch.float64)
        n = math.prod(shape)
        component = torch.multinomial(shares, n, replacement=True, generator=generator)
        noise = torch.randn(n, generator=generator)
        means, stds = torch.tensor(self.means), torch.tensor(self.stds)
        return (means[component] + stds[component] * noise).reshape(shape)


def fit_mixture(values: Tensor, n_components: int) -> Mixture:
    """Fit a mixture by expectation maximisation (Dempster et al., 1977) on a fine histogram.

    The likelihood has many maxima, and blobs of one percent are easily missed, so EM starts from
    quantiles, from evenly spaced means, and from the histogram's farthest points; the likeliest
    result is taken. Nothing is random.

    Args:
        values: Finite numbers, any shape.
        n_components: Number of components; fewer if there are fewer distinct values.

    Raises:
        ValueError: A value is not finite.
    """
    flat = values.detach().double().flatten().cpu().numpy()
    if not np.isfinite(flat).all():
        raise ValueError("the encoder weights are not finite")
    low, high = float(flat.min()), float(flat.max())
    if low == high:
        return Mixture(shares=(1.0,), means=(low,), stds=(0.0,))
    counts, edges = np.histogram(flat, bins=N_BINS, range=(low, high))
    used = counts > 0
    x, weight = ((edges[1:] + edges[:-1]) / 2)[used], counts[used] / len(flat)
    k = min(n_components, len(x))
    floor = (high - low) / N_BINS
    fits = [_maximise(x, weight, start, floor) for start in _starts(x, weight, k)]
    _, shares, means, stds = max(fits, key=lambda fit: fit[0])
    order = np.argsort(means)
    return Mixture(
        shares=tuple((shares / shares.sum())[order].tolist()),
        means=tuple(means[order].tolist()),
        stds=tuple(stds[order].tolist()),
    )


def _starts(x: Floats, weight: Floats, k: int) -> list[Floats]:
    quantiles = np.interp((np.arange(k) + 0.5) / k, np.cumsum(weight), x)
    spaced = np.linspace(x[0], x[-1], k + 2)[1:-1]
    farthest = [float(np.average(x, weights=weight))]
    while len(farthest) < k:
        distance = np.abs(x[:, None] - np.array(farthest)).min(axis=1)
        farthest.append(float(x[np.argmax(distance**2 * weight)]))
    return [quantiles, spaced, np.array(farthest)]


def _maximise(
    x: Floats, weight: Floats, means: Floats, floor: float
) -> tuple[float, Floats, Floats, Floats]:
    """Run EM from the given means; return mean log-likelihood, shares, means, deviations."""
    k = len(means)
    shares = np.full(k, 1 / k)
    nearest = np.abs(x[:, None] - means).argmin(axis=1)
    spread = [
        np.average((x - means[j]) ** 2, weights=weight * (nearest == j) + 1e-300) ** 0.5
        for j in range(k)
    ]
    stds = np.maximum(spread, floor)
    before = -np.inf
    for _ in range(N_STEPS):
        z = (x[:, None] - means) / stds
        logs = np.log(np.maximum(shares, 1e-300)) - np.log(stds) - 0.5 * z**2
        top = logs.max(axis=1, keepdims=True)
        density = np.exp(logs - top)
        total = density.sum(axis=1, keepdims=True)
        likelihood = float(weight @ (top + np.log(total))[:, 0]) - 0.5 * math.log(2 * math.pi)
        if likelihood - before < TOLERANCE:
            break
        before = likelihood
        member = weight[:, None] * density / total
        shares = member.sum(axis=0)
        safe = np.maximum(shares, 1e-300)
        means = (member * x[:, None]).sum(axis=0) / safe
        variance = (member * (x[:, None] - means) ** 2).sum(axis=0) / safe
        stds = np.maximum(np.sqrt(variance), floor)
    return likelihood, shares, means, stds
