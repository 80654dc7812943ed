"""The encoder graph's degrees and overlaps as bars."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from diagnostics.draw import paper

PANELS: Final = {
    "hidden_degrees": "inputs of a hidden unit",
    "input_degrees": "hidden units of an input",
    "hidden_overlaps": "inputs that two hidden units share",
    "input_overlaps": "hidden units that two inputs share",
}


def draw_degrees(graph: Mapping[str, Any]) -> Figure:
    """Draw four bar charts: degrees above, overlaps (logarithmic) below.

    Args:
        graph: What :func:`diagnostics.analysis.graph.encoder_graph` returns.
    """
    with paper.style():
        figure = paper.new_figure(6.6, 4.8)
        for k, (name, title) in enumerate(PANELS.items()):
            place = (0.09 + 0.49 * (k % 2), 0.53 - 0.43 * (k // 2), 0.39, 0.29)
            axes = figure.add_axes(place, label=name)
            _draw_bars(axes, graph[name], logarithmic=name.endswith("overlaps"))
            axes.set_title(title, fontsize=9, loc="left", pad=5)
        figure.text(0.09, 0.955, "Encoder graph", fontsize=paper.TITLE_SIZE, weight="bold",
                    va="center")  # fmt: skip
        figure.text(
            0.09, 0.91,
            f"{graph['n_edges']:,} edges with |weight| \N{GREATER-THAN OR EQUAL TO}"
            f" {graph['threshold']:.3g}  \N{MIDDLE DOT}  {graph['n_4_cycles']:,} 4-cycles,"
            f" {graph['expected_4_cycles']:,.0f} in a random graph of this density",
            fontsize=paper.TEXT_SIZE, color=paper.NOTE, va="center",
        )  # fmt: skip
    return figure


def _draw_bars(axes: Axes, summary: Mapping[str, Any], *, logarithmic: bool) -> None:
    paper.open_axes(axes)
    histogram = np.asarray(summary["histogram"], dtype=float)
    if not len(histogram):
        return
    first = summary["min"]
    values = np.arange(first, len(histogram))
    axes.bar(values, histogram[first:], width=0.82, color=paper.FILL, edgecolor=paper.BLUE,
             linewidth=0.6)  # fmt: skip
    if logarithmic:
        axes.set(yscale="log", ylim=(0.5, 3.0 * histogram.max()))
        paper.logarithmic(axes.yaxis)
    axes.set_xlim(first - 0.8, len(histogram) - 0.2)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
