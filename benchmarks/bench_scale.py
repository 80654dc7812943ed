"""Cost against size: blob detection against the number of pairs, monitord against runs and epochs.

Draws ``docs/pictures/scale.png``.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import tensorboard_peer
from benchmarks.run_trees import make_tree
from benchmarks.table import PYTHON, Row, interleaved, wall_seconds
from diagnostics.blobs import blob_structure
from diagnostics.draw import paper
from diagnostics.sampled import dbscan_labels

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "pictures" / "scale.png"
SHAPES = ((64, 256), (128, 512), (256, 1024), (512, 1024), (1024, 4096), (4096, 8192))
"""Hidden units and coordinates: 16 thousand to 33 million pairs."""
LARGEST_FOR_DBSCAN = 1 << 20
RUNS = (10, 100, 1_000, 10_000)
EPOCHS = (10, 100, 1_000, 10_000, 100_000)
N_EPOCHS = 10
Curve = dict[int, float]


def seconds(work: Callable[[], Any], repeats: int = 3) -> float:
    """Return the median wall time."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def three_blobs(hidden: int, d: int) -> tuple[np.ndarray, np.ndarray]:
    """Return weights like the reference run's at its end: three blobs, two of one percent."""
    rng = np.random.default_rng(0)
    side = np.where(rng.random((hidden, d), np.float32) < 0.023, 1.37, 0).astype(np.float32)
    side *= rng.choice(np.array([-1, 1], np.float32), (hidden, d))
    encoder = rng.standard_normal((hidden, d), np.float32) * np.float32(0.1) + side
    decoder = rng.standard_normal((hidden, d), np.float32) * np.float32(0.008)
    decoder += np.float32(0.061) * side
    return encoder, np.ascontiguousarray(decoder.T)


def pairs_curves() -> tuple[Curve, Curve]:
    """Return seconds by number of pairs: ours, and the guide's DBSCAN over all pairs."""
    ours: Curve = {}
    guide: Curve = {}
    for hidden, d in SHAPES:
        encoder, decoder = three_blobs(hidden, d)
        n = encoder.size
        ours[n] = seconds(partial(blob_structure, encoder, decoder))
        if n <= LARGEST_FOR_DBSCAN:
            pairs = np.column_stack([encoder.ravel(), decoder.T.ravel()])
            guide[n] = seconds(partial(dbscan_labels, pairs, 0.1, 50), 1)
    return ours, guide


def listings(sizes: Sequence[int], shape: Callable[[int], tuple[int, int]]) -> dict[str, Curve]:
    """Return the times of a first table, and of TensorBoard's, taken in turn.

    Args:
        sizes: The sizes to measure.
        shape: Returns the number of runs and of epochs of a size.
    """
    ours: Curve = {}
    peer: Curve = {}
    for n in sizes:
        with tempfile.TemporaryDirectory() as scratch:
            runs, events = Path(scratch, "runs"), Path(scratch, "events")
            make_tree(runs, *shape(n))
            listing = partial(wall_seconds, PYTHON, "-m", "monitord", str(runs), "--once")
            if tensorboard_peer.is_installed():
                command = tensorboard_peer.loading(events, *shape(n))
                repeats = 2 if shape(n)[0] < max(RUNS) else 1
                ours[n], peer[n], _ = interleaved(listing, partial(wall_seconds, *command), repeats)
            else:
                ours[n] = statistics.median(listing() for _ in range(3))
    return {"monitord --once": ours} | ({"TensorBoard's fast loader": peer} if peer else {})


def draw(panels: list[tuple[str, dict[str, Curve]]]) -> None:
    """Draw each panel's curves on logarithmic axes."""
    with paper.style():
        figure = paper.new_figure(10.0, 3.4)
        for place, (title, curves) in enumerate(panels):
            axes = figure.add_axes((0.07 + 0.325 * place, 0.17, 0.255, 0.7))
            for name, curve in curves.items():
                axes.plot([*curve], [*curve.values()], marker="o", markersize=3, label=name)
            costs = [cost for curve in curves.values() for cost in curve.values()]
            axes.set_ylim(10 ** np.floor(np.log10(min(costs))), 10 ** np.ceil(np.log10(max(costs))))
            axes.set(xscale="log", yscale="log", xlabel=title)
            paper.logarithmic(axes.xaxis)
            paper.logarithmic(axes.yaxis)
            if not place:
                axes.set_ylabel("seconds")
            axes.legend(frameon=False, fontsize=7)
            paper.open_axes(axes)
        paper.write_picture(figure, PICTURE)


def slope(curve: Curve) -> float:
    """Return the growth of cost by that of size over the last step; 1 is linear."""
    (n, a), (m, b) = list(curve.items())[-2:]
    return float(np.log(b / a) / np.log(m / n))


def measure() -> list[Row]:
    """Measure all rows of this file and draw the picture."""
    ours, guide = pairs_curves()
    runs = listings(RUNS, lambda n: (n, N_EPOCHS))
    epochs = listings(EPOCHS, lambda n: (1, n))
    draw(
        [
            ("weight pairs", {"blob structure": ours, "DBSCAN, eps 0.1, all pairs": guide}),
            (f"runs of {N_EPOCHS} epochs", runs),
            ("epochs of one run", epochs),
        ]
    )
    rows = []
    curves = [("pairs (blob structure)", ours)]
    curves += [("runs", runs["monitord --once"]), ("epochs", epochs["monitord --once"])]
    for name, curve in curves:
        n, cost = list(curve.items())[-1]
        growth = slope(curve)
        shown = f"{cost:.2f} s at {n:,}"
        rows.append(
            Row(
                f"cost against {name}", shown, "exponent of growth", growth, "<= 1.1", growth <= 1.1
            )
        )
    most = max(guide)
    ratio = ours[most] / guide[most]
    beside = f"{guide[most]:.3f} s (DBSCAN of all)"
    rows.append(Row(f"{most:,} pairs", f"{ours[most]:.3f} s", beside, ratio, "", None))
    return rows
