"""The formation timeline: blob count, separation, shares and centres over the epochs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from diagnostics.draw import paper

SIZE: Final = (6.6, 7.6)
LEFT, WIDTH = 0.135, 0.83
HEIGHTS: Final = {
    "count": 0.105,
    "separation": 0.13,
    "shares": 0.13,
    "encoder centers": 0.15,
    "decoder centers": 0.15,
}
TOP: Final = 0.9
ROW_GAP: Final = 0.032


Point = tuple[float, float]
"""Encoder weight and decoder weight."""


@dataclass(slots=True)
class Timeline:
    """What the panels show; None is a missing value.

    Attributes:
        epochs, n_blobs, separation, born: One entry for each epoch; ``born`` is the epoch since
            which there have been so many blobs.
        blobs: (epoch, share, centre, standard deviations) of every blob.
    """

    epochs: list[int] = field(default_factory=list)
    n_blobs: list[int] = field(default_factory=list)
    separation: list[float | None] = field(default_factory=list)
    born: list[int] = field(default_factory=list)
    blobs: list[tuple[int, float, Point, Point]] = field(default_factory=list)


def timeline_of(history: Iterable[Mapping[str, Any]]) -> Timeline:
    """Return the timeline of a ``training_history``; epochs without blobs' fields are left out."""
    line = Timeline()
    for entry in history:
        found = entry.get("diagnostics") or {}
        if found.get("n_blobs") is None:
            continue
        epoch = int(entry["epoch"])
        line.epochs.append(epoch)
        line.n_blobs.append(int(found["n_blobs"]))
        line.separation.append(found.get("blob_separation"))
        line.born.append(found.get("blob_born_epoch") or _born(line))
        centers = found.get("blob_centers") or []
        stds = found.get("blob_stds") or [[0.0, 0.0]] * len(centers)
        for share, center, std in zip(found.get("blob_shares") or [], centers, stds, strict=False):
            if None not in (share, *center):
                spread = (std[0] or 0.0, std[1] or 0.0)
                line.blobs.append((epoch, share, (center[0], center[1]), spread))
    return line


def _born(line: Timeline) -> int:
    """The first of the epochs at the timeline's end that have the last one's number of blobs."""
    n_same = 1
    while n_same < len(line.n_blobs) and line.n_blobs[-n_same - 1] == line.n_blobs[-1]:
        n_same += 1
    return line.epochs[-n_same]


def history_of_trend(trend: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return an analysis's trend in the form of a ``training_history``."""
    return [
        {
            "epoch": row["epoch"],
            "diagnostics": {
                "n_blobs": row["n_blobs"],
                "blob_separation": row["separation"],
                "blob_shares": row["shares"],
                "blob_centers": row["centers"],
                "blob_stds": row["stds"],
            },
        }
        for row in trend
        if row["epoch"] is not None
    ]


def draw_timeline(history: Iterable[Mapping[str, Any]], *, name: str = "") -> Figure:
    """Draw how the blobs of a run formed, from its ``training_history`` alone.

    Args:
        history: Entries with ``epoch`` and, under ``diagnostics``, ``n_blobs``,
            ``blob_separation``, ``blob_shares``, ``blob_centers``; ``blob_stds`` and
            ``blob_born_epoch`` where there are.
        name: Name of the run.

    Returns:
        The figure, its axes labelled by the keys of `HEIGHTS`.
    """
    line = timeline_of(history)
    with paper.style():
        figure = paper.new_figure(*SIZE)
        panels: dict[str, Axes] = {}
        bottom = TOP
        for label, height in HEIGHTS.items():
            bottom -= height
            first = panels.get("count")
            place = (LEFT, bottom, WIDTH, height)
            panels[label] = figure.add_axes(place, label=label, sharex=first)
            bottom -= ROW_GAP
        _draw_count(panels["count"], line)
        _draw_separation(panels["separation"], line)
        _draw_shares(panels["shares"], line)
        for side, name_of_side in enumerate(("encoder", "decoder")):
            _draw_centers(panels[f"{name_of_side} centers"], line, side)
            panels[f"{name_of_side} centers"].set_ylabel(f"{name_of_side} centre")
        _finish(panels, line)
        _write_title(figure, line, name)
    return figure


def _draw_count(axes: Axes, line: Timeline) -> None:
    axes.step(line.epochs, line.n_blobs, where="mid", color=paper.BLUE, linewidth=1.6)
    axes.plot(line.epochs, line.n_blobs, "o", color=paper.BLUE, markersize=3)
    axes.set_ylabel("blobs")
    axes.set_ylim(0.4, max([3, *line.n_blobs]) + 0.6)
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))


def _draw_separation(axes: Axes, line: Timeline) -> None:
    values = [np.nan if value is None else value for value in line.separation]
    axes.fill_between(line.epochs, values, color=paper.FILL, linewidth=0)
    axes.plot(line.epochs, values, "o-", color=paper.BLUE, linewidth=1.6, markersize=3)
    axes.set(ylabel="separation", ylim=(-0.02, 1.04))
    axes.set_yticks([0.0, 0.5, 1.0])


def _draw_shares(axes: Axes, line: Timeline) -> None:
    axes.set(ylabel="share of pairs", yscale="log")
    shares = [100.0 * blob[1] for blob in line.blobs]
    axes.scatter([blob[0] for blob in line.blobs], shares, s=11, c=_colours(line), linewidths=0)
    axes.set_ylim(0.5 * min(shares, default=1.0), 200.0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))
    axes.yaxis.set_minor_locator(NullLocator())


def _draw_centers(axes: Axes, line: Timeline, side: int) -> None:
    epochs = [blob[0] for blob in line.blobs]
    centers = [blob[2][side] for blob in line.blobs]
    stds = [blob[3][side] for blob in line.blobs]
    colours = _colours(line)
    axes.vlines(
        epochs, np.subtract(centers, stds), np.add(centers, stds), colors=colours, alpha=0.35,
        linewidth=4.0,
    )  # fmt: skip
    axes.scatter(epochs, centers, s=11, c=colours, linewidths=0, zorder=3)


def _colours(line: Timeline) -> list[str]:
    """Blue for an epoch's largest blob, vermillion on its positive side, green on its negative.

    The side is what stays the same while blobs move, so one colour follows one blob.
    """
    largest: dict[int, float] = {}
    for epoch, _, (encoder, _), _ in line.blobs:
        largest.setdefault(epoch, encoder)
    colours = []
    seen: set[int] = set()
    for epoch, _, (encoder, _), _ in line.blobs:
        is_largest = epoch not in seen
        seen.add(epoch)
        side = paper.VERMILLION if encoder > largest[epoch] else paper.GREEN
        colours.append(paper.BLUE if is_largest else side)
    return colours


def _finish(panels: Mapping[str, Axes], line: Timeline) -> None:
    """Give all panels the epochs' axis, and mark when the present structure was born."""
    born = line.born[-1] if line.born else None
    for label, axes in panels.items():
        paper.open_axes(axes)
        axes.grid(axis="y", color=paper.GRID, linewidth=0.7)
        axes.set_axisbelow(True)
        axes.yaxis.set_label_coords(-0.11, 0.5)
        if born is not None and born > line.epochs[0]:
            axes.axvline(born, color=paper.NOTE, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
        if label != "decoder centers":
            axes.tick_params("x", labelbottom=False)
    last = panels["decoder centers"]
    last.set_xlabel("epoch")
    last.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    if line.epochs:
        last.set_xlim(min(line.epochs) - 0.5, max(line.epochs) + 0.5)


def _write_title(figure: Figure, line: Timeline, name: str) -> None:
    words = [name] if name else []
    if line.epochs:
        n_blobs, born = line.n_blobs[-1], line.born[-1]
        blobs = f"{n_blobs} blob" + ("" if n_blobs == 1 else "s")
        title = f"{blobs} at epoch {line.epochs[-1]}"
        words += [f"{blobs} since epoch {born}"] if n_blobs > 1 else []
        words.append("bars: one sigma")
    else:
        title = "no blob structure in these results"
    figure.text(LEFT, 0.965, title, fontsize=paper.TITLE_SIZE, weight="bold", va="center")
    subtitle = "  \N{MIDDLE DOT}  ".join(words)
    figure.text(LEFT, 0.925, subtitle, fontsize=paper.TEXT_SIZE, color=paper.NOTE, va="center")
