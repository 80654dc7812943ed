"""bf16 against float32, run for run; not part of ``make bench``: 14 minutes.

The same seeds are trained in both precisions by the command itself, and what each epoch recorded is
compared. Draws ``docs/pictures/precision.png``.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from benchmarks.table import PYTHON, Row
from diagnostics.draw import paper

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "pictures" / "precision.png"
SEEDS = {"reference_3blob": (42, 1, 2), "quick_3blob": (42, 1, 2, 3, 4, 5)}
MOST_APART = 0.01
Entries = list[dict[str, Any]]


@dataclass(frozen=True)
class Twins:
    """The histories of one seed in both precisions."""

    seed: int
    float32: Entries
    bf16: Entries

    def apart(self) -> float:
        """Return the largest relative difference of an epoch's test loss."""
        pairs = zip(self.float32, self.bf16, strict=True)
        return max(abs(test_loss(b) / test_loss(a) - 1) for a, b in pairs)

    def counts(self) -> tuple[list[int], list[int]]:
        """Return the number of blobs at each epoch, in both."""
        return [n_blobs(e) for e in self.float32], [n_blobs(e) for e in self.bf16]


def test_loss(entry: dict[str, Any]) -> float:
    """Return the loss of an epoch's entry."""
    return float(entry["test"]["scaled_loss"])


def separation(entry: dict[str, Any]) -> float:
    """Likewise."""
    return float(entry["diagnostics"]["blob_separation"])


def n_blobs(entry: dict[str, Any]) -> int:
    """Likewise."""
    return int(entry["diagnostics"]["n_blobs"])


def history(preset: str, seed: int, precision: str, folder: Path) -> Entries:
    """Train by the command and return what it recorded."""
    run = folder / f"{preset}_{seed}_{precision}"
    command = [PYTHON, "-m", "trainer", preset, "--device", "cpu", "--quiet"]
    command += [
        "--set",
        f"seed={seed}",
        "--precision",
        precision,
        "--set",
        "save_plots=false",
        "--output-dir",
        str(run),
    ]
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
    entries: Entries = json.loads((run / "results.json").read_bytes())["training_history"]
    return entries


QUANTITIES: dict[str, Callable[[dict[str, Any]], float]] = {
    "test loss": test_loss,
    "separation": separation,
    "blobs": n_blobs,
}


def draw(found: dict[str, list[Twins]]) -> None:
    """Draw loss, separation and blobs of both precisions, a column for each preset."""
    with paper.style():
        figure = paper.new_figure(8.4, 6.6)
        for column, (preset, twins) in enumerate(found.items()):
            for row, name in enumerate(QUANTITIES):
                axes = figure.add_axes((0.07 + 0.5 * column, 0.7 - 0.315 * row, 0.415, 0.255))
                draw_quantity(axes, name, twins)
                if not row:
                    axes.set_title(preset, loc="left")
                    handles, labels = axes.get_legend_handles_labels()
                    axes.legend(handles[:2], labels[:2], frameon=False)
        paper.write_picture(figure, PICTURE)


def draw_quantity(axes: Axes, name: str, twins: list[Twins]) -> None:
    """Draw one quantity of all seeds by epoch."""
    for pair in twins:
        for entries, precision, line, color in (
            (pair.float32, "float32", "-", "#0072B2"),
            (pair.bf16, "bf16", "--", "#D55E00"),
        ):
            axes.plot(
                [entry["epoch"] for entry in entries],
                [QUANTITIES[name](entry) for entry in entries],
                line,
                color=color,
                linewidth=1,
                drawstyle="steps-post" if name == "blobs" else "default",
                label=f"{precision}, {len(twins)} seeds",
            )
    axes.set_ylabel(name)
    axes.set_xticks([1, 5, 10, 15, 20])
    if name == "blobs":
        axes.set_yticks([0, 1, 2, 3])
        axes.set_xlabel("epoch")
    paper.open_axes(axes)


def rows_of(preset: str, twins: list[Twins]) -> list[Row]:
    """Return what differs between the precisions of one preset."""
    apart = sorted(pair.apart() for pair in twins)
    counts = [pair.counts() for pair in twins]
    same_end = sum(a[-1] == b[-1] for a, b in counts)
    same_epochs = sum(x == y for a, b in counts for x, y in zip(a, b, strict=True))
    n_epochs = sum(len(a) for a, _ in counts)
    middle = apart[len(apart) // 2]
    return [
        Row(
            f"{preset}, {len(twins)} seeds: test loss of an epoch in bf16, furthest from float32",
            f"{middle:.2%} (median), {apart[-1]:.2%} (worst seed)",
            "",
            None,
            f"<= {MOST_APART:.0%}",
            apart[-1] <= MOST_APART,
        ),
        Row(
            f"{preset}, {len(twins)} seeds: blobs in bf16 as in float32",
            f"{same_epochs} of {n_epochs} epochs; {same_end} of {len(twins)} last epochs",
            "",
            None,
            "all last epochs",
            same_end == len(twins),
        ),
    ]


def measure() -> list[Row]:
    """Measure all rows of this file and draw the picture."""
    found: dict[str, list[Twins]] = {}
    with tempfile.TemporaryDirectory() as name:
        for preset, seeds in SEEDS.items():
            found[preset] = [
                Twins(
                    seed,
                    history(preset, seed, "float32", Path(name)),
                    history(preset, seed, "bf16", Path(name)),
                )
                for seed in seeds
            ]
    draw(found)
    return [row for preset, twins in found.items() for row in rows_of(preset, twins)]
