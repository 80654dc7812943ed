"""Draws the picture at the top of the README from a finished run.

``python -m benchmarks.readme_picture RUN docs/pictures/three_blobs.png``
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes

from diagnostics.blobs import find_blobs
from diagnostics.contract.density import build_density
from diagnostics.contract.density_view import view_of
from diagnostics.contract.snapshot import sample_pairs
from diagnostics.draw import pairs, paper
from diagnostics.sampled import dbscan_labels
from trainer.runner import load_results

STRONG, FAINT = "#0072B2", "#8C8C8C"


def draw(run: Path, output: Path) -> None:
    weights = torch.load(run / "model.pth", weights_only=True)
    encoder, decoder = weights["fc1.weight"].numpy(), weights["fc2.weight"].numpy()
    grid = build_density(encoder, decoder)
    view = view_of([grid])
    history = load_results(run)["training_history"]
    with (
        paper.style(),
        mpl.rc_context({"font.size": 9, "axes.titlesize": 10.5, "axes.titleweight": "bold"}),
    ):
        figure = paper.new_figure(9.0, 6.6)
        left = figure.add_axes((0.085, 0.375, 0.42, 0.565))
        right = figure.add_axes((0.555, 0.375, 0.42, 0.565), sharex=left, sharey=left)
        sample = sample_pairs(encoder, decoder, 5000, np.random.default_rng(0))
        labels = dbscan_labels(sample, 0.1, 50)
        draw_sample(left, sample, labels)
        structure = find_blobs(grid)
        pairs._draw_density(right, grid, view)
        pairs._draw_blobs(right, structure["blobs"], grid.n_pairs)
        right.set_title(f"all {grid.n_pairs:,} pairs: {structure['n_blobs']} blobs", loc="left")
        for axes in (left, right):
            paper.open_axes(axes)
            axes.set_xlabel("encoder weight")
        left.set_ylabel("decoder weight")
        right.tick_params(labelleft=False)
        right.set_ylabel("")
        count = figure.add_axes((0.085, 0.075, 0.42, 0.2))
        separation = figure.add_axes((0.555, 0.075, 0.42, 0.2))
        draw_formation(count, separation, history)
        paper.write_picture(figure, output)


def draw_sample(axes: Axes, sample: np.ndarray, labels: np.ndarray) -> None:
    n_clusters = labels.max() + 1
    noise = labels < 0
    axes.scatter(sample[~noise, 0], sample[~noise, 1], s=3, color=STRONG, linewidths=0)
    axes.scatter(sample[noise, 0], sample[noise, 1], s=5, color=FAINT, linewidths=0)
    word = "cluster" if n_clusters == 1 else "clusters"
    axes.set_title(
        f"sample of 5,000, fixed eps: {n_clusters} {word}",
        loc="left",
    )


def draw_formation(count: Axes, separation: Axes, history: list[dict[str, Any]]) -> None:
    epochs = [entry["epoch"] for entry in history]
    field = {
        name: [entry["diagnostics"][name] for entry in history]
        for name in ("n_blobs", "n_clusters_dbscan", "blob_separation")
    }
    born = history[-1]["diagnostics"]["blob_born_epoch"]
    for name, label, colour, width in (
        ("n_clusters_dbscan", "sample", FAINT, 2.5),
        ("n_blobs", "all pairs", STRONG, 2.0),
    ):
        count.step(epochs, field[name], where="mid", color=colour, linewidth=width)
        at = epochs.index(born)
        count.text(born, field[name][at] - 0.15, label, color=colour, ha="left", va="top")
    count.set(ylim=(0, 3.4), yticks=[0, 1, 2, 3])
    count.set_title("blobs found at each epoch", loc="left")
    separation.plot(epochs, field["blob_separation"], color=STRONG, linewidth=2)
    separation.set(ylim=(0, 1.05))
    separation.set_title("separation: rises before the count does", loc="left")
    for axes in (count, separation):
        paper.open_axes(axes)
        axes.set(xlabel="epoch", xlim=(1, epochs[-1]))
        axes.set_xticks([1, *range(5, epochs[-1] + 1, 5)])


if __name__ == "__main__":
    draw(Path(sys.argv[1]), Path(sys.argv[2]))
