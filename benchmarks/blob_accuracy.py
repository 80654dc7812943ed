"""How often detectors of blobs are right, and how far samples are off."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.blob_detectors import (
    GUIDE_SAMPLE,
    SLOW,
    Detector,
    Points,
    count_labels,
)
from diagnostics.blobs import blob_structure
from diagnostics.blobs.clouds import make_random_cloud

N_PAIRS_CLOUD = 65_536
# The slow detectors see this many of the clouds only.
N_CLOUDS_SLOW = 24
FAMILY_SIZES = 5_000, 5_000_000


def compare_on_clouds(n_clouds: int, detectors: dict[str, Detector | str]) -> list[dict[str, Any]]:
    """Accuracy and median CPU time of each detector over the first clouds of the family."""
    clouds = [make_random_cloud(seed, N_PAIRS_CLOUD) for seed in range(n_clouds)]
    weights = [cloud.as_weights() for cloud in clouds]
    is_single = np.array([cloud.n_blobs == 1 for cloud in clouds])
    rows: list[dict[str, Any]] = []
    for name, detector in detectors.items():
        if isinstance(detector, str):
            rows.append({"detector": name, "reason": detector})
            continue
        detector(*weights[0])  # compilation and imports are not what is compared
        n_seen = min(N_CLOUDS_SLOW, n_clouds) if name.startswith(SLOW) else n_clouds
        right, times_ms = [], []
        for cloud, (encoder, decoder) in zip(clouds[:n_seen], weights[:n_seen], strict=True):
            start = time.process_time()
            right.append(detector(encoder, decoder) == cloud.n_blobs)
            times_ms.append(1e3 * (time.process_time() - start))
        single = is_single[:n_seen]
        rows.append(
            {
                "detector": name,
                "n_clouds": n_seen,
                "right": float(np.mean(right)),
                "right_of_one_blob": float(np.mean(np.array(right)[single])),
                "right_of_several": float(np.mean(np.array(right)[~single])),
                "cpu_ms_median": float(np.median(times_ms)),
            }
        )
    return rows


def measure_sampling_error(encoder: Points, decoder: Points) -> dict[str, dict[str, float]]:
    """The spread of each metric over 500 samples of 5,000 pairs, beside the exact value."""
    pairs = np.column_stack([encoder.ravel(), decoder.T.ravel()]).astype(np.float64)
    rng = np.random.default_rng(1)
    middle = pairs[:, 0].max() / 2  # between the centre and the outer blobs
    metrics: dict[str, Callable[[npt.NDArray[np.float64]], float]] = {
        "correlation": lambda p: float(np.corrcoef(p[:, 0], p[:, 1]).item(1)),
        "encoder_mean": lambda p: float(p[:, 0].mean()),
        "encoder_std": lambda p: float(p[:, 0].std()),
        "decoder_mean": lambda p: float(p[:, 1].mean()),
        "decoder_std": lambda p: float(p[:, 1].std()),
        "share of the upper outer blob": lambda p: float((p[:, 0] > middle).mean()),
    }
    samples = [pairs[rng.integers(0, len(pairs), GUIDE_SAMPLE)] for _ in range(500)]
    return {
        name: {"exact": metric(pairs), "sampled_std": float(np.std([metric(s) for s in samples]))}
        for name, metric in metrics.items()
    }


def follow_epochs(run: Path) -> list[dict[str, Any]]:
    """What blob_structure and the guide's detector on raw weights say of each epoch."""
    from dbscan import DBSCAN

    from diagnostics.analysis.saved_weights import load_weights
    from diagnostics.analysis.weights_files import find_weights

    rows = []
    for weights in map(load_weights, find_weights(run, "all")):
        found = blob_structure(weights.encoder, weights.decoder)
        flat = np.column_stack([weights.encoder.ravel(), weights.decoder.T.ravel()])
        flat = flat.astype(np.float64)
        pick = np.random.default_rng(weights.epoch).choice(len(flat), GUIDE_SAMPLE, replace=False)
        counts = [
            count_labels(DBSCAN(pairs, eps=0.1, min_samples=50)[0]) for pairs in (flat[pick], flat)
        ]
        row = {
            "epoch": weights.epoch,
            "n_blobs": found["n_blobs"],
            "separation": found["separation"],
        }
        rows.append({**row, "guide_dbscan": counts[0], "all_pairs_dbscan": counts[1]})
    return rows


def count_right(n_clouds: int) -> list[dict[str, Any]]:
    """How many random clouds of 5,000 to 5 million pairs are counted right, by their size.

    Beside it, what `separation` says of those that are one blob by construction: it should be 0.
    """
    least, most = FAMILY_SIZES
    bounds = np.geomspace(least, most, 4).round().astype(int).tolist()
    sizes = np.random.default_rng(20261125).uniform(math.log(least), math.log(most), n_clouds)
    n_pairs = np.exp(sizes).round().astype(int)
    right, separation = np.zeros(n_clouds, bool), np.full(n_clouds, np.nan)
    for seed in range(n_clouds):
        cloud = make_random_cloud(10_000 + seed, int(n_pairs[seed]))
        found = blob_structure(*cloud.as_weights())
        right[seed] = found["n_blobs"] == cloud.n_blobs
        if cloud.n_blobs == 1:
            separation[seed] = found["separation"]
        if not right[seed]:
            said = f"{found['n_blobs']} blobs, separation {found['separation']:.2f}"
            print(f"{cloud.kind}, {len(cloud.pairs):,} pairs: {said}", file=sys.stderr)
    rows = []
    for low, high in (*pairwise(bounds), FAMILY_SIZES):
        inside = (low <= n_pairs) & (n_pairs < high)
        single = separation[inside & ~np.isnan(separation)]
        row = {"pairs": f"{low:,} to {high:,}", "clouds": int(inside.sum())}
        row |= {"right": int(right[inside].sum()), "of one blob": len(single)}
        row |= {f"separation < {s}": int((single < s).sum()) for s in (0.01, 0.1, 0.2)}
        rows.append(row)
    return rows
