"""Seconds that a full analysis and the pictures take.

The weights have a cloud like that of a trained network: a central blob and two of 1.15 % each,
correlated. Wall and CPU seconds, the best of three; imports are not counted.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.table import Row
from diagnostics.analysis.blob_members import blob_members, label_cells
from diagnostics.analysis.experiment import analyze_experiment
from diagnostics.analysis.gaussianity import blob_gaussianity
from diagnostics.analysis.graph import encoder_graph, natural_threshold
from diagnostics.analysis.mixture import fit_mixtures
from diagnostics.analysis.saved_weights import SavedWeights
from diagnostics.blobs import find_blobs
from diagnostics.contract.density import build_density
from diagnostics.contract.density_archive import ArchivedGrid
from diagnostics.draw.movie import write_movie
from diagnostics.draw.pairs import draw_pairs
from diagnostics.draw.paper import encode_picture
from diagnostics.sampled import full_blob_analysis

N_RUNS = 3
HIDDEN, D = 512, 1024


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


def timed(name: str, work: Callable[[], Any]) -> tuple[Any, Row]:
    """Return the result of some work, and its times."""
    best = (float("inf"), float("inf"))
    for _ in range(N_RUNS):
        wall, cpu = time.perf_counter(), time.process_time()
        result = work()
        best = min(best, (time.perf_counter() - wall, time.process_time() - cpu))
    shown, beside = f"{best[0]:.2f} s", f"{best[1]:.2f} s of CPU"
    return result, Row(f"analysis, {HIDDEN} x {D}: {name}", shown, beside, None, "", None)


def measure() -> list[Row]:
    """Measure the steps of an analysis one by one, and the whole."""
    weights = make_weights(HIDDEN, D)
    encoder, decoder = weights.encoder, weights.decoder
    state = {"fc1.weight": encoder, "fc2.weight": decoder}
    rows: list[Row] = []

    def step(name: str, work: Callable[[], Any]) -> Any:
        result, row = timed(name, work)
        rows.append(row)
        return result

    grid = step("density grid", lambda: build_density(encoder, decoder))
    structure = step("blob structure", lambda: find_blobs(grid))
    step("Gaussian mixtures, 1 to 6 components", lambda: fit_mixtures(grid))
    labels = label_cells(grid)
    members = step("pairs of each blob", lambda: blob_members(encoder, decoder, grid, labels))
    step("Gaussianity of the blobs", lambda: [blob_gaussianity(pairs) for pairs in members])
    threshold, _ = natural_threshold(grid.encoder_std, structure["blobs"])
    step("encoder graph", lambda: encoder_graph(encoder, threshold))
    step("DBSCAN of all pairs, silhouette", lambda: full_blob_analysis(state))
    step("pairs picture", lambda: encode_picture(draw_pairs(grid, structure)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.npz"
        np.savez(path, allow_pickle=False, **state)
        step("analyze_experiment without files", lambda: analyze_experiment(path, False))
        step("analyze_experiment with pictures", lambda: analyze_experiment(path))
        grids = [ArchivedGrid(epoch, grid) for epoch in range(1, 6)]
        output = Path(folder) / "movie.gif"
        step("movie (GIF) of 5 epochs", lambda: write_movie(grids, output))
    return rows
