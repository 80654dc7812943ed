"""Seconds that a full analysis and the pictures take.

    python -m benchmarks.bench_analysis [--hidden 512 --d 1024] [--weights FILE]

Without a file of weights, a cloud like that of a trained network is made: a central blob and two
of 1.15 % each, correlated. Wall and CPU seconds, the best of three; imports are not counted.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from diagnostics.analysis.blob_members import blob_members, label_cells
from diagnostics.analysis.experiment import analyze_experiment
from diagnostics.analysis.gaussianity import blob_gaussianity
from diagnostics.analysis.graph import encoder_graph, natural_threshold
from diagnostics.analysis.mixture import fit_mixtures
from diagnostics.analysis.weights_files import SavedWeights, WeightsFile, load_weights
from diagnostics.blobs import find_blobs
from diagnostics.contract.density import build_density
from diagnostics.contract.density_archive import ArchivedGrid
from diagnostics.draw.movie import write_movie
from diagnostics.draw.pairs import draw_pairs
from diagnostics.draw.paper import encode_picture
from diagnostics.sampled import full_blob_analysis

N_RUNS = 3


def make_weights(hidden: int, d: int) -> SavedWeights:
    """Weights with the blobs of `reference_3blob` after 20 epochs."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, hidden * d), dtype=np.float32)
    y = np.float32(0.6) * x + np.float32(0.8) * y
    side = rng.choice([-1, 0, 1], hidden * d, p=[0.0115, 0.977, 0.0115]).astype(np.float32)
    encoder = np.where(side == 0, 0.069, 0.118).astype(np.float32) * x + np.float32(1.37) * side
    decoder = np.where(side == 0, 0.0073, 0.0122).astype(np.float32) * y + np.float32(0.083) * side
    pair = encoder.reshape(hidden, d), np.ascontiguousarray(decoder.reshape(hidden, d).T)
    return SavedWeights(Path("made"), None, *pair)


def measure(name: str, work: Callable[[], Any]) -> Any:
    best = (float("inf"), float("inf"))
    for _ in range(N_RUNS):
        wall, cpu = time.perf_counter(), time.process_time()
        result = work()
        best = min(best, (time.perf_counter() - wall, time.process_time() - cpu))
    print(f"| {name} | {best[0]:.2f} | {best[1]:.2f} |")
    return result


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--d", type=int, default=1024)
    parser.add_argument("--weights", type=Path)
    arguments = parser.parse_args()
    if arguments.weights:
        weights = load_weights(WeightsFile(arguments.weights))
    else:
        weights = make_weights(arguments.hidden, arguments.d)
    state = {"fc1.weight": weights.encoder, "fc2.weight": weights.decoder}
    print(f"hidden {weights.encoder.shape[0]}, d {weights.encoder.shape[1]}\n")
    print("| step | wall s | CPU s |\n|---|---|---|")
    grid = measure("density grid", lambda: build_density(weights.encoder, weights.decoder))
    structure = measure("blob structure", lambda: find_blobs(grid))
    measure("Gaussian mixtures, 1 to 6 components", lambda: fit_mixtures(grid))
    labels = label_cells(grid)
    members = measure(
        "pairs of each blob", lambda: blob_members(weights.encoder, weights.decoder, grid, labels)
    )
    measure("Gaussianity of the blobs", lambda: [blob_gaussianity(pairs) for pairs in members])
    threshold = natural_threshold(grid.encoder_std, structure["blobs"])
    measure("encoder graph", lambda: encoder_graph(weights.encoder, threshold))
    if grid.n_pairs <= 1_000_000:
        measure("DBSCAN of all pairs, silhouette", lambda: full_blob_analysis(state))
    measure("pairs picture", lambda: encode_picture(draw_pairs(grid, structure)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.npz"
        np.savez(path, **state)
        measure("analyze_experiment without files", lambda: analyze_experiment(path, False))
        measure("analyze_experiment with report and pictures", lambda: analyze_experiment(path))
        grids = [ArchivedGrid(epoch, grid) for epoch in range(1, 6)]
        output = Path(folder) / "movie.gif"
        measure("movie (GIF) of 5 epochs", lambda: write_movie(grids, output))


if __name__ == "__main__":
    main()
