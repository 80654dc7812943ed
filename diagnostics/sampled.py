"""The guide's metrics: a sample of weight pairs, its statistics, and DBSCAN on it."""

from __future__ import annotations

import functools
import sys
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diagnostics.contract.snapshot import sample_pairs
from diagnostics.silhouette import silhouette_score
from diagnostics.weights import encoder_decoder

N_CENTERS = 3
MAX_SILHOUETTE_PAIRS = 10_000
"""The silhouette takes n^2 distances; of more pairs than this, so many are drawn for it."""

MAX_CELLS = 2**30
"""The fast DBSCAN numbers cells of about eps in 32 bits: a diverged run's weights overflow them."""


def compute_lightweight_blob_metrics(
    model: Any,
    n_samples: int = 5000,
    compute_full_stats: bool = False,
    eps: float = 0.1,
    min_samples: int = 50,
    *,
    seed: int = 0,
) -> dict[str, Any]:
    """Return the guide's metrics of a model's weight pairs.

    Args:
        model: A `TwoLayerNet`, or anything with ``fc1.weight`` of shape (hidden, d) and
            ``fc2.weight`` of shape (d, hidden), or such a state dict.
        n_samples: Pairs to sample without replacement.
        compute_full_stats: Use all pairs instead.
        eps: DBSCAN's radius.
        min_samples: DBSCAN's number of points in a core point's ball, itself included.
        seed: Seed of the sample; no other generator is touched.

    Returns:
        ``weight_correlation`` (None if one side is constant), ``encoder_std``, ``decoder_std``,
        ``encoder_mean``, ``decoder_mean``, ``n_clusters_dbscan``, ``silhouette_score`` (None below
        two clusters), ``cluster_centers`` (of the three largest clusters, largest first),
        ``n_noise_points``, ``computation_time_ms``, ``n_pairs_analyzed`` (finite pairs).
    """
    started = time.perf_counter()
    encoder, decoder = encoder_decoder(model)
    n = encoder.shape[0] * encoder.shape[1] if compute_full_stats else n_samples
    pairs = sample_pairs(encoder, decoder, int(n), np.random.default_rng(seed))
    metrics = pair_metrics(pairs, eps=eps, min_samples=min_samples, seed=seed)
    metrics["computation_time_ms"] = (time.perf_counter() - started) * 1e3
    return metrics


def full_blob_analysis(model: Any, eps: float = 0.1, min_samples: int = 50) -> dict[str, Any]:
    """Return the same metrics of all weight pairs; the silhouette is that of 10,000 of them."""
    return compute_lightweight_blob_metrics(
        model, compute_full_stats=True, eps=eps, min_samples=min_samples
    )


def pair_metrics(
    pairs: NDArray[np.float32], *, eps: float, min_samples: int, seed: int = 0
) -> dict[str, Any]:
    """Return the guide's metrics of an array of pairs of shape (n, 2).

    Pairs with a NaN or an infinity are left out; without any finite pair every statistic is None
    and no cluster is there.
    """
    started = time.perf_counter()
    pairs = pairs[np.isfinite(pairs).all(axis=1)]
    labels = dbscan_labels(pairs, eps, min_samples)
    clustered = labels >= 0
    sizes = np.bincount(labels[clustered])
    largest = np.argsort(-sizes, kind="stable")[:N_CENTERS]
    metrics: dict[str, Any] = statistics(pairs)
    metrics |= {
        "n_clusters_dbscan": len(sizes),
        "silhouette_score": _silhouette(pairs[clustered], labels[clustered], seed),
        "cluster_centers": [
            pairs[labels == cluster].mean(axis=0, dtype=np.float64).tolist() for cluster in largest
        ],
        "n_noise_points": int((~clustered).sum()),
        "computation_time_ms": (time.perf_counter() - started) * 1e3,
        "n_pairs_analyzed": len(pairs),
    }
    return metrics


def statistics(pairs: NDArray[np.float32]) -> dict[str, float | None]:
    """Return correlation, standard deviations (n in the denominator) and means of the pairs."""
    names = ("weight_correlation", "encoder_std", "decoder_std", "encoder_mean", "decoder_mean")
    if len(pairs) == 0:
        return dict.fromkeys(names)
    exact = pairs.astype(np.float64)
    means, stds = exact.mean(axis=0), exact.std(axis=0)
    correlation = None
    if (np.ptp(exact, axis=0) > 0).all():
        centred = (exact - means) / stds
        correlation = float(np.clip((centred[:, 0] * centred[:, 1]).mean(), -1, 1))
    return dict(zip(names, (correlation, *map(float, (*stds, *means))), strict=True))


def dbscan_labels(pairs: NDArray[np.float32], eps: float, min_samples: int) -> NDArray[np.int64]:
    """Return DBSCAN's label of each pair, -1 for noise (Ester et al., 1996).

    The labels are those of scikit-learn's ``DBSCAN`` up to their numbering, from the exact and
    parallel algorithm of Wang, Gu and Shun (SIGMOD 2020).
    """
    if len(pairs) < min_samples:
        return np.full(len(pairs), -1, dtype=np.int64)
    if np.ptp(pairs.astype(np.float64), axis=0).max() > MAX_CELLS * eps:
        from sklearn.cluster import DBSCAN

        fitted = DBSCAN(eps=eps, min_samples=min_samples).fit(pairs.astype(np.float64))
        return np.asarray(fitted.labels_, dtype=np.int64)
    labels, _ = _exact_dbscan()(pairs.astype(np.float64), eps=eps, min_samples=min_samples)
    return np.asarray(labels, dtype=np.int64)


@functools.cache
def _exact_dbscan() -> Any:
    """Import the algorithm without the scikit-learn wrapper that its package adds if it can.

    The wrapper is not used here, and importing scikit-learn for it takes longer than an epoch.
    """
    absent = "sklearn" not in sys.modules
    if absent:
        sys.modules["sklearn"] = None  # type: ignore[assignment]
    try:
        from dbscan import DBSCAN
    finally:
        if absent:
            del sys.modules["sklearn"]
    return DBSCAN


def _silhouette(pairs: NDArray[np.float32], labels: NDArray[np.int64], seed: int) -> float | None:
    if len(pairs) > MAX_SILHOUETTE_PAIRS:
        generator = np.random.default_rng(seed)
        chosen = generator.choice(len(pairs), MAX_SILHOUETTE_PAIRS, replace=False)
        pairs, labels = pairs[chosen], labels[chosen]
    return silhouette_score(pairs, labels)
