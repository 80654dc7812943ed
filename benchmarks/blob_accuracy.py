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

from benchmarks.blob_detectors import (
    GUIDE_SAMPLE,
    SLOWEST,
    Detector,
    Points,
    count_labels,
)
from diagnostics.blobs import blob_structure
from diagnostics.blobs.clouds import make_random_cloud, make_unimodal
from diagnostics.sampled import pair_metrics

N_PAIRS_CLOUD = 65_536
# Detectors that take seconds for a cloud see so many only.
N_CLOUDS_SLOW = 24
N_SAMPLES = 500
FAMILY_SIZES = 5_000, 5_000_000
SAMPLED = (
    "weight_correlation",
    "encoder_mean",
    "encoder_std",
    "decoder_mean",
    "decoder_std",
    "n_clusters_dbscan",
    "silhouette_score",
)


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
        n_seen = min(N_CLOUDS_SLOW, n_clouds) if name in SLOWEST else n_clouds
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


def measure_sampling_error(encoder: Points, decoder: Points) -> dict[str, dict[str, float | None]]:
    """The guide's metrics over 500 samples of 5,000 pairs, beside the same of all pairs."""
    pairs = np.column_stack([encoder.ravel(), decoder.T.ravel()])
    rng = np.random.default_rng(1)
    samples = [pairs[rng.integers(0, len(pairs), GUIDE_SAMPLE)] for _ in range(N_SAMPLES)]
    exact, *sampled = [_sampled_metrics(some) for some in (pairs, *samples)]
    return {
        name: {
            "all pairs": exact[name],
            "sampled mean": _over(np.mean, [metrics[name] for metrics in sampled]),
            "sampled std": _over(np.std, [metrics[name] for metrics in sampled]),
            "defined": float(np.mean([metrics[name] is not None for metrics in sampled])),
        }
        for name in exact
    }


def _sampled_metrics(pairs: Points) -> dict[str, float | None]:
    found = pair_metrics(pairs, eps=0.1, min_samples=50)
    metrics = {name: found[name] for name in SAMPLED}
    metrics["share of noise points"] = found["n_noise_points"] / len(pairs)
    centers = [center[0] for center in found["cluster_centers"]]
    metrics["largest cluster_centers, encoder"] = centers[0] if centers else None
    metrics["share beyond 0.7 in the encoder"] = float((pairs[:, 0] > 0.7).mean())
    return metrics


def _over(summary: Callable[[list[float]], Any], values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(summary(known)) if known else None


def vary_option(name: str, values: list[float], n_clouds: int) -> list[dict[str, Any]]:
    """What each value of an option of blob_structure does: clouds of 5,000 to 500,000 pairs.

    ``invented`` clouds have more blobs found than there are, ``lost`` ones fewer; then of as many
    rings of 5,000 pairs, the hardest single cloud, how many are called more than one blob.
    """
    clouds = [
        make_random_cloud(20_000 + seed, int(5_000 * 100 ** (seed / max(1, n_clouds - 1))))
        for seed in range(n_clouds)
    ]
    rings = [
        make_unimodal("ring", np.random.default_rng([30_000, seed]), 5_000)
        for seed in range(n_clouds)
    ]
    rows = []
    for value in values:
        option = {name: int(value) if name == "n_bins" else value}
        found = [blob_structure(*cloud.as_weights(), **option)["n_blobs"] for cloud in clouds]
        excess = np.array(found) - [cloud.n_blobs for cloud in clouds]
        split = [blob_structure(*ring.as_weights(), **option)["n_blobs"] > 1 for ring in rings]
        row = {name: value, "clouds": n_clouds, "invented": int((excess > 0).sum())}
        rows.append({**row, "lost": int((excess < 0).sum()), "rings split": sum(split)})
    return rows


def follow_epochs(run: Path) -> list[dict[str, Any]]:
    """What the run's own diagnostics say of each epoch, and DBSCAN on all its pairs."""
    from dbscan import DBSCAN

    from diagnostics.analysis.run_results import history_of, run_results
    from diagnostics.analysis.saved_weights import load_weights
    from diagnostics.analysis.weights_files import find_weights

    said = {entry["epoch"]: entry["diagnostics"] for entry in history_of(run_results(run), None)}
    rows = []
    for weights in map(load_weights, find_weights(run, "all")):
        assert weights.epoch is not None
        found = said[weights.epoch]
        pairs = np.column_stack([weights.encoder.ravel(), weights.decoder.T.ravel()])
        labels = DBSCAN(pairs.astype(np.float64), eps=0.1, min_samples=50)[0]
        row = {"epoch": weights.epoch, "n_blobs": found["n_blobs"]}
        row |= {"separation": found["blob_separation"], "guide_dbscan": found["n_clusters_dbscan"]}
        rows.append({**row, "all_pairs_dbscan": count_labels(labels)})
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
