"""Pictures: time from arrays in memory to a file on the disk, in a figure that is reused.

python benchmarks/bench_pictures.py [--repeats 15]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from monitord import series
from monitord.draw.canvas import write_figure
from monitord.draw.request import DrawOptions
from monitord.draw.sheet import Sheet
from monitord.series import RunSeries

RESULTS = Path(__file__).parent / "results" / "pictures.json"
LIMITS_MS = {"four panels, 1,000 epochs": 120.0, "four panels, 100,000 epochs": 200.0}


def make_run(n_epochs: int, seed: int) -> RunSeries:
    """Return a noisy run that forms three blobs half way."""
    random = np.random.default_rng(seed)
    epochs = np.arange(1.0, n_epochs + 1)
    late = epochs >= n_epochs // 2
    loss = 9 + 161 * np.exp(-6 * epochs / n_epochs) * (1 + 0.05 * random.standard_normal(n_epochs))
    correlation = -0.3 * epochs / n_epochs
    values = {
        series.TEST_LOSS: loss,
        series.TRAIN_LOSS: loss * 1.05 + random.random(n_epochs),
        series.BLOB_COUNT: np.where(late, 3.0, 1.0),
        series.SAMPLED_COUNT: np.ones(n_epochs),
        series.BLOB_SILHOUETTE: np.where(late, 0.9 + 0.02 * random.random(n_epochs), np.nan),
        series.SAMPLED_SILHOUETTE: np.full(n_epochs, np.nan),
        series.BLOB_CORRELATION: correlation + 0.02 * random.standard_normal(n_epochs),
        series.SAMPLED_CORRELATION: correlation + 0.06 * random.standard_normal(n_epochs),
        series.SEPARATION: np.where(late, 0.95, 0.1 * random.random(n_epochs)),
    }
    return RunSeries(
        name=f"sweep_lr{0.01 * (seed % 7 + 1):.2f}_seed{seed}",
        epochs=epochs,
        values=values,
        n_planned=n_epochs,
        born=n_epochs // 2,
    )


def measure(
    groups: list[list[RunSeries]], options: DrawOptions, n_repeats: int
) -> dict[str, float]:
    """Return times in milliseconds of drawing and writing; the runs change from time to time."""
    sheet = Sheet()
    times = []
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "picture.png"
        for index in range(n_repeats + 1):
            started, cpu = time.perf_counter(), time.process_time()
            write_figure(sheet.draw(groups[index % len(groups)], options), output)
            times.append((time.perf_counter() - started, time.process_time() - cpu))
        size = output.stat().st_size
    steady = times[1:]
    return {
        "first_ms": times[0][0] * 1e3,
        "median_ms": statistics.median(wall for wall, _ in steady) * 1e3,
        "best_ms": min(wall for wall, _ in steady) * 1e3,
        "worst_ms": max(wall for wall, _ in steady) * 1e3,
        "median_cpu_ms": statistics.median(cpu for _, cpu in steady) * 1e3,
        "file_bytes": float(size),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    n_repeats = parser.parse_args().repeats
    four, overview = DrawOptions(), DrawOptions(overview=True)
    cases = {
        "four panels, 20 epochs": ([[make_run(20, s)] for s in range(5)], four),
        "four panels, 1,000 epochs": ([[make_run(1_000, s)] for s in range(5)], four),
        "four panels, 100,000 epochs": ([[make_run(100_000, s)] for s in range(3)], four),
        "overlay of 12 runs, 100 epochs": (
            [[make_run(100, s) for s in range(12)]],
            DrawOptions(overlay=True),
        ),
        "overview of 1,000 runs, 100 epochs": ([[make_run(100, s) for s in range(1000)]], overview),
    }
    print(f"{'picture':<36}{'first':>9}{'median':>9}{'best':>9}{'worst':>9}{'CPU':>9}{'limit':>9}")
    results = {}
    for name, (groups, options) in cases.items():
        found = results[name] = measure(groups, options, n_repeats)
        limit = LIMITS_MS.get(name)
        columns = ("first_ms", "median_ms", "best_ms", "worst_ms", "median_cpu_ms")
        row = "".join(f"{found[column]:>6.0f} ms" for column in columns)
        verdict = "" if limit is None else f"{limit:>6.0f} ms"
        print(f"{name:<36}{row}{verdict}")
    RESULTS.parent.mkdir(exist_ok=True)
    machine = {
        "python": platform.python_version(),
        "n_cpus": os.cpu_count(),
        "load_1min": os.getloadavg()[0],
    }
    content = {"machine": machine, "limits_ms": LIMITS_MS, "pictures": results}
    RESULTS.write_text(json.dumps(content, indent=2) + "\n")
    late = [name for name, limit in LIMITS_MS.items() if results[name]["median_ms"] > limit]
    if late:
        raise SystemExit(f"slower than the limit: {', '.join(late)}")


if __name__ == "__main__":
    main()
