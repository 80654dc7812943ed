"""Detectors of blobs to compare: each takes an encoder and a decoder and counts.

All but blob_structure get each axis divided by its standard deviation, since a fixed eps has no
meaning on raw weights.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from diagnostics.blobs import blob_structure

GUIDE_SAMPLE = 5_000
SLOW = ("HDBSCAN", "Gaussian mixture")
SLOWEST = ("HDBSCAN, all pairs", "Gaussian mixture by BIC, 1 to 7, all pairs")
Points = npt.NDArray[np.float32]
# A detector takes an encoder and a decoder and says how many blobs it sees.
Detector = Callable[[Points, Points], int]


def standardised_pairs(encoder: Points, decoder: Points, n_sample: int | None) -> Points:
    """Pairs (n, 2) in standard deviations, all of them or a sample with a fixed seed."""
    pairs = np.column_stack([encoder.ravel(), decoder.T.ravel()]).astype(np.float64)
    pairs = (pairs - pairs.mean(axis=0)) / pairs.std(axis=0)
    if n_sample is not None and n_sample < len(pairs):
        pairs = pairs[np.random.default_rng(0).choice(len(pairs), n_sample, replace=False)]
    found: Points = pairs.astype(np.float32)
    return found


def count_labels(labels: npt.NDArray[np.int64]) -> int:
    return len(np.unique(labels[labels >= 0]))


def detect_with_blob_structure(encoder: Points, decoder: Points) -> int:
    return int(blob_structure(encoder, decoder)["n_blobs"])


def make_dbscan(n_sample: int | None) -> Detector:
    from dbscan import DBSCAN

    def detect(encoder: Points, decoder: Points) -> int:
        pairs = standardised_pairs(encoder, decoder, n_sample).astype(np.float64)
        return count_labels(DBSCAN(pairs, eps=0.1, min_samples=50)[0])

    return detect


def make_hdbscan(n_sample: int | None) -> Detector:
    from fast_hdbscan import HDBSCAN

    def detect(encoder: Points, decoder: Points) -> int:
        pairs = standardised_pairs(encoder, decoder, n_sample)
        least = max(10, int(0.0005 * len(pairs)))
        model = HDBSCAN(min_cluster_size=least, min_samples=10, allow_single_cluster=True)
        return count_labels(model.fit_predict(pairs))

    return detect


def make_mixture(n_sample: int | None) -> Detector:
    from sklearn.mixture import GaussianMixture

    def detect(encoder: Points, decoder: Points) -> int:
        pairs = standardised_pairs(encoder, decoder, n_sample)
        fits = [
            GaussianMixture(k, random_state=0, reg_covar=1e-5, max_iter=60).fit(pairs)
            for k in range(1, 8)
        ]
        return 1 + int(np.argmin([fit.bic(pairs) for fit in fits]))

    return detect


def list_detectors(*, fast_only: bool = False) -> dict[str, Detector | str]:
    """Each detector by name, or the reason why it cannot run here."""
    makers: dict[str, Callable[[], Detector]] = {
        "blob_structure, all pairs": lambda: detect_with_blob_structure,
        "DBSCAN eps 0.1, min 50, 5,000 pairs (the guide's)": lambda: make_dbscan(GUIDE_SAMPLE),
        "DBSCAN eps 0.1, min 50, all pairs": lambda: make_dbscan(None),
        "HDBSCAN, 20,000 pairs": lambda: make_hdbscan(20_000),
        "Gaussian mixture by BIC, 1 to 7, 5,000 pairs": lambda: make_mixture(GUIDE_SAMPLE),
        SLOWEST[0]: lambda: make_hdbscan(None),
        SLOWEST[1]: lambda: make_mixture(None),
    }
    found: dict[str, Detector | str] = {}
    for name, make in makers.items():
        if fast_only and name.startswith(SLOW):
            continue
        try:
            found[name] = make()
        except ImportError as error:
            found[name] = f"not run: {error}"
    return found
