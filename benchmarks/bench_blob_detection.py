"""Compare blob detectors on random clouds of known truth, and time them on weights.

    python -m benchmarks.bench_blob_detection [--weights epochs.npz] [--n-clouds 120]

Prints Markdown tables and writes ``benchmarks/results/blob_detection.json``. ``epochs.npz`` holds
arrays ``e1``, ``d1``, ``e2`` ...: encoder (hidden, d) and decoder (d, hidden) after each epoch.
The detectors other than blob_structure get each axis divided by its standard deviation, since a
fixed eps has no meaning on raw weights; the guide's detector on real weights does not.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from diagnostics.blobs import blob_structure, find_blobs
from diagnostics.blobs.clouds import Cloud, make_random_cloud
from diagnostics.contract.density import build_density

RESULTS = Path(__file__).parent / "results" / "blob_detection.json"
N_PAIRS_CLOUD = 65_536
GUIDE_SAMPLE = 5_000
# The slow detectors see this many of the clouds only.
N_CLOUDS_SLOW = 24
SLOW = ("HDBSCAN", "Gaussian mixture")
Points = npt.NDArray[np.float32]
# A detector takes an encoder and a decoder and says how many blobs it sees.
Detector = Callable[[Points, Points], int]


def standardised_pairs(encoder: Points, decoder: Points, n_sample: int | None) -> Points:
    """Pairs (n, 2) in standard deviations, all of them or a sample with a fixed seed."""
    pairs = np.column_stack([encoder.ravel(), decoder.T.ravel()]).astype(np.float64)
    pairs = (pairs - pairs.mean(axis=0)) / pairs.std(axis=0)
    if n_sample is not None and n_sample < len(pairs):
        pairs = pairs[np.random.default_rng(0).choice(len(pairs), n_sample, replace=False)]
    return pairs.astype(np.float32)


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


def make_hdbscan(n_sample: int) -> Detector:
    from fast_hdbscan import HDBSCAN

    def detect(encoder: Points, decoder: Points) -> int:
        pairs = standardised_pairs(encoder, decoder, n_sample)
        least = max(10, int(0.0005 * len(pairs)))
        model = HDBSCAN(min_cluster_size=least, min_samples=10, allow_single_cluster=True)
        return count_labels(model.fit_predict(pairs))

    return detect


def make_mixture(n_sample: int) -> Detector:
    from sklearn.mixture import GaussianMixture

    def detect(encoder: Points, decoder: Points) -> int:
        pairs = standardised_pairs(encoder, decoder, n_sample)
        fits = [
            GaussianMixture(k, random_state=0, reg_covar=1e-5, max_iter=60).fit(pairs)
            for k in range(1, 8)
        ]
        return 1 + int(np.argmin([fit.bic(pairs) for fit in fits]))

    return detect


def list_detectors() -> dict[str, Detector | str]:
    """Each detector by name, or the reason why it cannot run here."""
    makers: dict[str, Callable[[], Detector]] = {
        "blob_structure, all pairs": lambda: detect_with_blob_structure,
        "DBSCAN eps 0.1, min 50, 5,000 pairs (the guide's)": lambda: make_dbscan(GUIDE_SAMPLE),
        "DBSCAN eps 0.1, min 50, all pairs": lambda: make_dbscan(None),
        "HDBSCAN, 20,000 pairs": lambda: make_hdbscan(20_000),
        "Gaussian mixture by BIC, 1 to 7, 5,000 pairs": lambda: make_mixture(GUIDE_SAMPLE),
    }
    found: dict[str, Detector | str] = {}
    for name, make in makers.items():
        try:
            found[name] = make()
        except ImportError as error:
            found[name] = f"not run: {error}"
    return found


def compare_on_clouds(n_clouds: int) -> list[dict[str, Any]]:
    """Accuracy and median CPU time of each detector over the first clouds of the family."""
    clouds = [make_random_cloud(seed, N_PAIRS_CLOUD) for seed in range(n_clouds)]
    weights = [cloud.as_weights() for cloud in clouds]
    is_single = np.array([cloud.n_blobs == 1 for cloud in clouds])
    rows: list[dict[str, Any]] = []
    for name, detector in list_detectors().items():
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


def make_three_blob_weights(n_hidden: int, n_inputs: int) -> tuple[Points, Points]:
    """Weights distributed like the reference run's at epoch 20."""
    rng = np.random.default_rng(0)
    n_pairs = n_hidden * n_inputs
    pairs = rng.standard_normal((n_pairs, 2), np.float32)
    pairs *= np.array([0.1, 0.008], np.float32)
    n_outer = int(0.0114 * n_pairs)
    shift = np.array([1.37, 0.084], np.float32)
    pairs[:n_outer] += shift
    pairs[n_outer : 2 * n_outer] -= shift
    return Cloud("reference-like", 3, rng.permutation(pairs)).as_weights()


def time_cpu_ms(action: Callable[[], Any], n_repeats: int) -> dict[str, float]:
    action()
    times = []
    for _ in range(n_repeats):
        start = time.process_time()
        action()
        times.append(1e3 * (time.process_time() - start))
    return {"median_ms": float(np.median(times)), "least_ms": min(times)}


def measure_cost(encoder: Points, decoder: Points) -> dict[str, dict[str, float]]:
    """CPU milliseconds at 524,288 pairs, beside scikit-learn's way of doing what the guide does."""
    grid = build_density(encoder, decoder)
    cost = {
        "build_density": time_cpu_ms(lambda: build_density(encoder, decoder), 30),
        "find_blobs": time_cpu_ms(lambda: find_blobs(grid), 30),
        "blob_structure": time_cpu_ms(lambda: blob_structure(encoder, decoder), 30),
    }
    from sklearn.cluster import DBSCAN
    from sklearn.metrics import silhouette_score

    def run_guide() -> None:
        flat = np.column_stack([encoder.ravel(), decoder.T.ravel()])
        pairs = flat[np.random.default_rng(0).choice(len(flat), GUIDE_SAMPLE, replace=False)]
        labels = DBSCAN(eps=0.1, min_samples=50).fit_predict(pairs)
        if count_labels(labels) > 1:
            silhouette_score(pairs, labels)

    cost["scikit-learn sampled DBSCAN + silhouette"] = time_cpu_ms(run_guide, 5)
    return cost


def read_peak_memory_kib() -> int:
    """This program's peak resident memory (Linux; getrusage's also remembers the parent's)."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


def measure_large() -> dict[str, float]:
    """Time and memory above the weights at 33,554,432 pairs; runs in a process of its own."""
    rng = np.random.default_rng(0)
    encoder = rng.standard_normal((4096, 8192), np.float32)
    decoder = rng.standard_normal((8192, 4096), np.float32)
    before = read_peak_memory_kib()
    cpu, wall = time.process_time(), time.perf_counter()
    blob_structure(encoder, decoder)
    return {
        "cpu_s": time.process_time() - cpu,
        "wall_s": time.perf_counter() - wall,
        "memory_above_weights_mib": (read_peak_memory_kib() - before) / 1024,
    }


def measure_sampling_error(encoder: Points, decoder: Points) -> dict[str, dict[str, float]]:
    """The spread of each metric over 500 samples of 5,000 pairs, beside the exact value."""
    pairs = np.column_stack([encoder.ravel(), decoder.T.ravel()]).astype(np.float64)
    rng = np.random.default_rng(1)
    middle = pairs[:, 0].max() / 2  # between the centre and the outer blobs
    metrics: dict[str, Callable[[npt.NDArray[np.float64]], float]] = {
        "correlation": lambda p: float(np.corrcoef(p.T)[0, 1]),
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


def follow_epochs(path: Path) -> list[dict[str, Any]]:
    """What blob_structure and the guide's detector on raw weights say of each epoch."""
    from dbscan import DBSCAN

    rows = []
    with np.load(path) as arrays:
        for epoch in range(1, 1 + len(arrays.files) // 2):
            encoder, decoder = arrays[f"e{epoch}"], arrays[f"d{epoch}"]
            found = blob_structure(encoder, decoder)
            flat = np.column_stack([encoder.ravel(), decoder.T.ravel()]).astype(np.float64)
            pick = np.random.default_rng(epoch).choice(len(flat), GUIDE_SAMPLE, replace=False)
            counts = [
                count_labels(DBSCAN(pairs, eps=0.1, min_samples=50)[0])
                for pairs in (flat[pick], flat)
            ]
            row = {"epoch": epoch, "n_blobs": found["n_blobs"], "separation": found["separation"]}
            rows.append({**row, "guide_dbscan": counts[0], "all_pairs_dbscan": counts[1]})
    return rows


def print_table(rows: list[dict[str, Any]]) -> None:
    keys = list(rows[0])
    print("| " + " | ".join(keys) + " |\n|" + " --- |" * len(keys))
    for row in rows:
        cells = [row.get(key, row.get("reason", "")) for key in keys]
        print("| " + " | ".join(f"{c:.4g}" if isinstance(c, float) else str(c) for c in cells), "|")
    print(flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--n-clouds", type=int, default=120)
    parser.add_argument("--weights", type=Path, help="NPZ with e1, d1, e2, d2 ...")
    parser.add_argument("--large-only", action="store_true", help="print the 33M-pair figures")
    options = parser.parse_args()
    if options.large_only:
        print(json.dumps(measure_large()))
        return
    report: dict[str, Any] = {"clouds": compare_on_clouds(options.n_clouds)}
    print_table(report["clouds"])
    weights = make_three_blob_weights(512, 1024)
    report["cost_524288_pairs"] = measure_cost(*weights)
    print_table([{"step": k, **v} for k, v in report["cost_524288_pairs"].items()])
    # Peak memory is a high-water mark: only a fresh process shows this step's own.
    command = [sys.executable, "-m", "benchmarks.bench_blob_detection", "--large-only"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    report["cost_33554432_pairs"] = json.loads(done.stdout)
    print_table([report["cost_33554432_pairs"]])
    report["sampling_error_5000_pairs"] = measure_sampling_error(*weights)
    print_table([{"metric": k, **v} for k, v in report["sampling_error_5000_pairs"].items()])
    if options.weights:
        report["epochs"] = follow_epochs(options.weights)
        print_table(report["epochs"])
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(report, indent=2, allow_nan=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
