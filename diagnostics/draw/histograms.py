"""Histograms: the encoder weights of a network, and its outputs on fresh data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from diagnostics.contract.density import DensityGrid
from diagnostics.contract.density_view import marginal
from diagnostics.draw import paper
from diagnostics.draw.pairs import say_nothing_finite

if TYPE_CHECKING:
    from diagnostics.analysis.outputs import NetworkOutputs

SIZE: Final = (6.4, 3.6)
PLACE: Final = (0.105, 0.145, 0.865, 0.68)
N_OUTPUT_BINS: Final = 160


def draw_encoder_weights(
    grid: DensityGrid,
    structure: Mapping[str, Any],
    *,
    epoch: int | None = None,
    threshold: float | None = None,
) -> Figure:
    """Draw the density of all encoder weights on a logarithmic axis, with the blobs' centres.

    Args:
        grid: All weight pairs.
        structure: What :func:`diagnostics.blobs.find_blobs` says of them.
        epoch: Number for the title.
        threshold: |Weight| to mark: where the encoder graph has edges.
    """
    edges, density = marginal(grid.encoder_axis, grid.counts.sum(axis=1))
    with paper.style():
        figure, axes = _new("encoder weights")
        floor = 0.4 * float(density[density > 0].min(initial=1.0))
        if not grid.n_pairs:
            say_nothing_finite(axes, grid)
        axes.stairs(
            np.maximum(density, floor), edges, baseline=floor, fill=True, facecolor=paper.FILL,
            edgecolor=paper.BLUE, linewidth=0.8, label="all encoder weights",
        )  # fmt: skip
        axes.set(yscale="log", ylim=(floor, 3.0 * float(density.max(initial=0.0) or 1.0)))
        axes.set_ylabel("density")
        paper.label_weights(axes.xaxis, paper.ENCODER_LABEL, (edges[0], edges[-1]))
        paper.logarithmic(axes.yaxis)
        for blob in structure["blobs"] if grid.n_pairs else ():
            axes.axvline(blob["center"][0], color=paper.VERMILLION, linewidth=0.8)
            axes.annotate(
                place_of(blob), (blob["center"][0], 0.97), (3, 0), fontsize=7,
                xycoords=("data", "axes fraction"), textcoords="offset points", va="top",
                color=paper.VERMILLION,
            )  # fmt: skip
        for sign in (-1, 1) if threshold else ():
            axes.axvline(
                sign * (threshold or 0.0), color=paper.NOTE, linewidth=0.8, linestyle=(0, (4, 3))
            )
        note = f", dashed: the encoder graph's threshold {threshold:.3g}" if threshold else ""
        _title(
            figure,
            "Encoder weights" + ("" if epoch is None else f"  \N{MIDDLE DOT}  epoch {epoch}"),
            f"all {grid.n_pairs:,}; orange: the blobs' centres{note}",
        )
    return figure


def place_of(blob: Mapping[str, Any]) -> str:
    """Return a blob's encoder centre as text, with the digits that its spread leaves a meaning."""
    center, std = blob["center"][0], blob["std"][0]
    if not std:
        return f"{center:.3g}"
    last = math.floor(math.log10(std)) - 1
    rounded = round(center, -last) + 0.0  # no minus zero
    return f"{rounded:.{-last}f}" if -6 <= last < 0 else f"{rounded:.3g}"


def draw_outputs(outputs: NetworkOutputs, *, epoch: int | None = None) -> Figure:
    """Draw what the network answers where the signal is 1 and where it is 0, each with area 1."""
    sides = {
        "signal 1": (outputs.active, paper.VERMILLION),
        "signal 0": (outputs.inactive, paper.BLUE),
    }
    finite = {name: values[np.isfinite(values)] for name, (values, _) in sides.items()}
    present = [values for values in finite.values() if len(values)]
    low = min((float(v.min()) for v in present), default=-0.5)
    high = max((float(v.max()) for v in present), default=1.5)
    low, high = min(low, -0.2), max(high, 1.2)
    margin = 0.02 * (high - low)
    edges = np.linspace(low, high, N_OUTPUT_BINS + 1)
    with paper.style():
        figure, axes = _new("network outputs")
        floor = np.inf
        for name, values in finite.items():
            if not len(values):
                continue
            density = np.histogram(values, edges)[0] / (len(values) * np.diff(edges))
            floor = min(floor, 0.5 * float(density[density > 0].min()))
            colour = sides[name][1]
            axes.stairs(
                density, edges, baseline=1e-12, fill=True, facecolor=(colour, 0.18),
                edgecolor=colour, linewidth=0.9,
                label=f"{name}: {values.mean():.3f} \N{PLUS-MINUS SIGN} {values.std():.3f}",
            )  # fmt: skip
        for target in (0.0, 1.0):
            axes.axvline(target, color=paper.NOTE, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
        axes.set(
            yscale="log",
            xlim=(low - margin, high + margin),
            xlabel="network output",
            ylabel="density",
        )
        paper.logarithmic(axes.yaxis)
        if not np.isfinite(floor):
            words = "no output is finite"
            axes.text(
                0.5, 0.5, words, ha="center", va="center", color=paper.NOTE,
                transform=axes.transAxes,
            )  # fmt: skip
        else:
            # Two lines of legend fit above the highest bar.
            axes.set_ylim(floor, axes.get_ylim()[1] * (axes.get_ylim()[1] / floor) ** 0.16)
            axes.legend(loc="upper right", fontsize=paper.TEXT_SIZE, edgecolor="none", framealpha=1)
        _title(
            figure,
            "Network outputs" + ("" if epoch is None else f"  \N{MIDDLE DOT}  epoch {epoch}"),
            f"{len(outputs.active):,} outputs on fresh data where the signal is 1 and"
            f" {len(outputs.inactive):,} where it is 0; dashed: the targets",
        )
    return figure


def _new(label: str) -> tuple[Figure, Axes]:
    figure = paper.new_figure(*SIZE)
    axes = figure.add_axes(PLACE, label=label)
    paper.open_axes(axes)
    return figure, axes


def _title(figure: Figure, title: str, subtitle: str) -> None:
    figure.text(PLACE[0], 0.94, title, fontsize=paper.TITLE_SIZE, weight="bold", va="center")
    figure.text(PLACE[0], 0.875, subtitle, fontsize=paper.TEXT_SIZE, color=paper.NOTE, va="center")
