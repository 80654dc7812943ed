"""Trees of runs for benchmarks, written as a trainer writes them.

``python -m benchmarks.run_trees FOLDER N_RUNS SECONDS`` goes on writing: an epoch a second into
each run, evenly spread; it prints the monotonic time, the run and the epoch of each.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

METRICS = {
    "train": ("loss", "scaled_loss", "loss_on", "loss_off"),
    "test": ("scaled_loss", "loss_on", "loss_off"),
    "timing": ("train_seconds", "test_seconds"),
    "diagnostics": (
        "n_blobs", "blob_separation", "blob_silhouette", "blob_correlation", "blob_born_epoch",
        "n_clusters_dbscan", "weight_correlation", "encoder_std", "decoder_std", "encoder_mean",
        "decoder_mean",
    ),
}  # fmt: skip
"""20 numbers per epoch."""


def epoch_entry(epoch: int, seed: random.Random) -> dict[str, Any]:
    """Return an entry of ``training_history`` with random numbers."""
    entry: dict[str, Any] = {"epoch": epoch}
    for group, names in METRICS.items():
        entry[group] = {name: seed.random() + 80 / epoch for name in names}
    return entry


def replace_results(folder: Path, entries: str, status: str = "completed") -> None:
    """Replace ``results.json``; ``entries`` is the text of the history without its brackets."""
    temporary = folder / f".results.json.{os.getpid()}.tmp"
    temporary.write_text(f'{{"status": "{status}", "training_history": [{entries}]}}')
    temporary.replace(folder / "results.json")


def make_tree(root: Path, n_runs: int, n_epochs: int, status: str = "completed") -> None:
    """Write ``n_runs`` folders ``run_00000`` and so on, each with numbers of its own."""
    seed = random.Random(1)
    for number in range(n_runs):
        folder = root / f"run_{number:05d}"
        folder.mkdir(parents=True)
        config = {"training": {"learning_rate": 0.01 * (number % 5 + 1), "epochs": n_epochs}}
        (folder / "config.json").write_text(json.dumps(config))
        entries = [epoch_entry(epoch, seed) for epoch in range(1, n_epochs + 1)]
        replace_results(folder, json.dumps(entries)[1:-1], status)


def write_on(root: Path, n_runs: int, seconds: float) -> None:
    """Write an epoch a second into each of the runs that `make_tree` made."""
    seed = random.Random(2)
    entries = [json.dumps([epoch_entry(e, seed) for e in range(1, 6)])[1:-1]] * n_runs
    begun, epoch = time.monotonic(), 5
    while time.monotonic() < begun + seconds:
        epoch += 1
        for number in range(n_runs):
            entries[number] += f", {json.dumps(epoch_entry(epoch, seed))}"
            replace_results(root / f"run_{number:05d}", entries[number], "running")
            print(f"{time.monotonic():.4f} run_{number:05d} {epoch}", flush=True)
            due = begun + (epoch - 6) + (number + 1) / n_runs
            time.sleep(max(0.0, due - time.monotonic()))


if __name__ == "__main__":
    write_on(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
