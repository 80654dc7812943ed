"""Random clouds of weight pairs whose number of blobs is known by construction.

The ground truth for the tests and the benchmark, and for authors of other detectors. Every cloud
has a random offset, and a random scale of 1e-3 to 1e3 on each axis.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# Between two blobs there is a straight strip in which the density of both together stays below
# about this part of the lower one's summit, so the true valley is at least 0.8 deep.
VALLEY_RATIO = 0.1
MIN_BLOB_PAIRS = 150
MIN_BLOB_SHARE = 0.001


@dataclass(frozen=True, slots=True)
class Cloud:
    """Weight pairs, (n_pairs, 2) float32 (encoder, decoder), and the true number of blobs."""

    kind: str
    n_blobs: int
    pairs: npt.NDArray[np.float32]

    def as_weights(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """The pairs as an encoder (hidden, d) and a decoder (d, hidden)."""
        n_pairs = len(self.pairs)
        n_hidden = next(h for h in range(int(n_pairs**0.5), 0, -1) if n_pairs % h == 0)
        encoder, decoder = (self.pairs[:, k].reshape(n_hidden, -1) for k in (0, 1))
        return encoder, np.ascontiguousarray(decoder.T)


def _disc(rng: np.random.Generator, n: int) -> Floats:
    radius, angle = np.sqrt(rng.random(n)), rng.uniform(0.0, 2.0 * np.pi, n)
    return np.column_stack([radius * np.cos(angle), radius * np.sin(angle)])


def _ring(rng: np.random.Generator, n: int) -> Floats:
    radius, angle = rng.normal(1.0, 0.1, n), rng.uniform(0.0, 2.0 * np.pi, n)
    return np.column_stack([radius * np.cos(angle), radius * np.sin(angle)])


def _correlated(rng: np.random.Generator, n: int) -> Floats:
    x, y = rng.standard_normal((2, n))
    r = rng.choice([-1.0, 1.0]) * rng.uniform(0.8, 0.995)
    return np.column_stack([x, r * x + np.sqrt(1.0 - r * r) * y])


UNIMODAL: dict[str, Callable[[np.random.Generator, int], Floats]] = {
    "normal": lambda rng, n: rng.standard_normal((n, 2)),
    "correlated normal": _correlated,
    "Laplace": lambda rng, n: rng.laplace(size=(n, 2)),
    "Student-t(3)": lambda rng, n: rng.standard_t(3, size=(n, 2)),
    "logistic": lambda rng, n: rng.logistic(size=(n, 2)),
    "uniform rectangle": lambda rng, n: rng.random((n, 2)),
    "uniform disc": _disc,
    "ring": _ring,
}


def make_unimodal(kind: str, rng: np.random.Generator, n_pairs: int) -> Cloud:
    """A cloud of one blob, of a kind in :data:`UNIMODAL`."""
    return Cloud(kind, 1, _place(UNIMODAL[kind](rng, n_pairs), rng))


def make_blobs(n_blobs: int, rng: np.random.Generator, n_pairs: int) -> Cloud:
    """Unequal, anisotropic (up to 20:1), correlated Gaussian blobs with a true valley between.

    Shares go down to 0.1 % and, in small clouds, to 150 pairs.
    """
    least = max(MIN_BLOB_SHARE, MIN_BLOB_PAIRS / n_pairs)
    while True:
        free = rng.dirichlet(np.full(n_blobs, 0.5))
        shares = least + (1.0 - n_blobs * least) * free
        sizes = np.exp(rng.uniform(np.log(0.2), 0.0, n_blobs))
        ratios = np.exp(rng.uniform(0.0, np.log(20.0), n_blobs))
        angles = rng.uniform(0.0, np.pi, n_blobs)
        axes = [
            size * np.array([[np.cos(a), -np.sin(a) / r], [np.sin(a), np.cos(a) / r]])
            for size, r, a in zip(sizes, ratios, angles, strict=True)
        ]
        centers = rng.uniform(-1.0, 1.0, (n_blobs, 2)) * 4.0 * np.sqrt(n_blobs)
        if all(
            _are_apart(centers[[i, j]], [axes[i], axes[j]], shares[[i, j]])
            for i in range(n_blobs)
            for j in range(i)
        ):
            break
    counts = rng.multinomial(n_pairs - n_blobs * int(least * n_pairs), free)
    counts += int(least * n_pairs)
    parts = [
        c + rng.standard_normal((n, 2)) @ a.T for c, a, n in zip(centers, axes, counts, strict=True)
    ]
    return Cloud(f"{n_blobs} blobs", n_blobs, _place(rng.permutation(np.vstack(parts)), rng))


def make_random_cloud(seed: int, n_pairs: int | None = None) -> Cloud:
    """One cloud of the family: half of them of one blob, half of two to six."""
    rng = np.random.default_rng([20240601, seed])
    n_pairs = n_pairs or int(rng.choice([16_384, 65_536, 262_144, 524_288]))
    if rng.random() < 0.5:
        return make_unimodal(str(rng.choice(list(UNIMODAL))), rng, n_pairs)
    return make_blobs(int(rng.integers(2, 7)), rng, n_pairs)


def _are_apart(centers: Floats, axes: list[Floats], shares: Floats) -> bool:
    """Whether some strip separates two blobs by enough of their standard deviations."""
    peaks = shares / [abs(np.linalg.det(a)) for a in axes]
    n_sigmas = np.sqrt(2.0 * np.log(np.maximum(peaks / (VALLEY_RATIO * peaks.min()), 1.0)))
    angle = np.linspace(0.0, np.pi, 48, endpoint=False)
    directions = np.stack([np.cos(angle), np.sin(angle)])
    reach = sum(
        k * np.linalg.norm(a.T @ directions, axis=0) for k, a in zip(n_sigmas, axes, strict=True)
    )
    distance = np.abs((centers[1] - centers[0]) @ directions)
    return bool((distance > reach).any())


def _place(points: Floats, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Random scale and offset on each axis, in float32 as weights are."""
    scale = 10.0 ** rng.uniform(-3.0, 3.0, 2)
    return ((points + rng.uniform(-2.0, 2.0, 2)) * scale).astype(np.float32)
