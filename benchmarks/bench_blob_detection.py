"""Compare blob detectors on random clouds of known truth, and time them on weights.

    python -m benchmarks blob_detection                       the costs against their bars
    python -m benchmarks.bench_blob_detection                 the tables of docs/blob_detection.md
    python -m benchmarks.bench_blob_detection --run RUN       what each says of a run's epochs
    python -m benchmarks.bench_blob_detection --family 1000   random clouds of all sizes
    python -m benchmarks.bench_blob_detection --vary min_depth 0.3 0.4 0.5   an option's effect

The tables are Markdown; the first two kinds are written to ``benchmarks/results/`` as well. ``RUN``
is the folder of a run with ``save_epoch_checkpoints``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.blob_accuracy import (
    compare_on_clouds,
    count_right,
    follow_epochs,
    measure_sampling_error,
    vary_option,
)
from benchmarks.blob_detectors import GUIDE_SAMPLE, Points, count_labels, list_detectors
from benchmarks.table import Row, interleaved
from diagnostics.blobs import blob_structure, find_blobs
from diagnostics.blobs.clouds import Cloud
from diagnostics.contract.density import build_density
from diagnostics.contract.snapshot import sample_pairs
from diagnostics.sampled import pair_metrics

# As in the process of a run's diagnostics: waiting threads of the fast DBSCAN burn CPU.
os.environ["PARLAY_NUM_THREADS"] = "1"
RESULTS = Path(__file__).parent / "results" / "blob_detectors.json"


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


def run_defaults(encoder: Points, decoder: Points) -> None:
    """What both default diagnostics do in an epoch."""
    pairs = sample_pairs(encoder, decoder, GUIDE_SAMPLE, np.random.default_rng(0))
    pair_metrics(pairs, eps=0.1, min_samples=50)
    blob_structure(encoder, decoder)


def run_guide(encoder: Points, decoder: Points) -> None:
    """The guide's metrics by scikit-learn: sampled DBSCAN, and the silhouette where it exists."""
    from sklearn.cluster import DBSCAN
    from sklearn.metrics import silhouette_score

    flat = np.column_stack([encoder.ravel(), decoder.T.ravel()])
    pairs = flat[np.random.default_rng(0).choice(len(flat), GUIDE_SAMPLE, replace=False)]
    labels = DBSCAN(eps=0.1, min_samples=50).fit_predict(pairs)
    if count_labels(labels) > 1:
        silhouette_score(pairs, labels)


def measure_cost(encoder: Points, decoder: Points) -> dict[str, dict[str, float]]:
    """CPU milliseconds at 524,288 pairs, beside scikit-learn's way of doing what the guide does."""
    grid = build_density(encoder, decoder)
    return {
        "build_density": time_cpu_ms(lambda: build_density(encoder, decoder), 30),
        "find_blobs": time_cpu_ms(lambda: find_blobs(grid), 30),
        "both default diagnostics": time_cpu_ms(lambda: run_defaults(encoder, decoder), 30),
        "scikit-learn sampled DBSCAN": time_cpu_ms(lambda: run_guide(encoder, decoder), 5),
    }


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


def measure() -> list[Row]:
    """The costs against their bars, and the accuracy on a few clouds; see ``benchmarks.table``."""
    weights = make_three_blob_weights(512, 1024)

    def cpu_ms(action: Callable[..., None], clock: Callable[[], float]) -> float:
        start = clock()
        action(*weights)
        return 1e3 * (clock() - start)

    mine, peer, ratio = interleaved(
        # One thread does it all, and those that the peer has woken go on spinning meanwhile.
        lambda: cpu_ms(run_defaults, time.thread_time),
        lambda: cpu_ms(run_guide, time.process_time),
        15,
    )
    name = "both default diagnostics, CPU an epoch (d 1024, hidden 512)"
    large = in_new_process()
    accuracy = compare_on_clouds(40, list_detectors(fast_only=True))
    ours, guide = (100 * accuracy[k]["right"] for k in (0, 1))
    scikit = "scikit-learn's sampled DBSCAN + silhouette:"
    memory = large["memory_above_weights_mib"]
    return [
        Row(name, f"{mine:.1f} ms", f"{scikit} {peer:.0f} ms", ratio, "<= 25 ms", mine <= 25.0),
        Row(
            "blob_structure, CPU (d 8192, hidden 4096)", f"{large['cpu_s']:.2f} s", "", None,
            "<= 1.5 s", large["cpu_s"] <= 1.5,
        ),
        Row(
            "blob_structure, memory above the weights (same)", f"{memory:.0f} MiB", "", None,
            "<= 400 MB", memory * 1.048576 <= 400.0,
        ),
        Row(
            "random clouds counted right, 40 of 65,536 pairs", f"{ours:.1f} %",
            f"5,000 pairs, DBSCAN: {guide:.1f} %", None, ">= 99 %", ours >= 99.0,
        ),
    ]  # fmt: skip


def print_table(rows: list[dict[str, Any]]) -> None:
    keys = list(rows[0])
    print("| " + " | ".join(keys) + " |\n|" + " --- |" * len(keys))
    for row in rows:
        cells = [row.get(key, row.get("reason", "")) for key in keys]
        print("| " + " | ".join(f"{c:.4g}" if isinstance(c, float) else str(c) for c in cells), "|")
    print(flush=True)


def in_new_process() -> dict[str, float]:
    """The figures of 33,554,432 pairs. Peak memory is a high-water mark: it takes a new process."""
    command = [sys.executable, "-m", "benchmarks.bench_blob_detection", "--large-only"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--n-clouds", type=int, default=120)
    parser.add_argument("--run", type=Path, help="folder of a run that saved every epoch")
    parser.add_argument("--family", type=int, help="number of random clouds of all sizes")
    parser.add_argument("--vary", nargs="+", metavar=("OPTION", "VALUE"), help="on 300 clouds")
    parser.add_argument("--large-only", action="store_true", help="print the 33M-pair figures")
    options = parser.parse_args()
    if options.large_only:
        print(json.dumps(measure_large()))
    elif options.run:
        print_table(follow_epochs(options.run))
    elif options.family:
        print_table(count_right(options.family))
    elif options.vary:
        print_table(vary_option(options.vary[0], [float(v) for v in options.vary[1:]], 300))
    else:
        report = make_report(options.n_clouds)
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(report, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def make_report(n_clouds: int) -> dict[str, Any]:
    """Measure and print the tables of docs/blob_detection.md."""
    report: dict[str, Any] = {"clouds": compare_on_clouds(n_clouds, list_detectors())}
    print_table(report["clouds"])
    weights = make_three_blob_weights(512, 1024)
    report["cost_524288_pairs"] = measure_cost(*weights)
    print_table([{"step": k, **v} for k, v in report["cost_524288_pairs"].items()])
    report["cost_33554432_pairs"] = in_new_process()
    print_table([report["cost_33554432_pairs"]])
    report["sampling_error_5000_pairs"] = measure_sampling_error(*weights)
    print_table([{"metric": k, **v} for k, v in report["sampling_error_5000_pairs"].items()])
    return report


if __name__ == "__main__":
    main()
