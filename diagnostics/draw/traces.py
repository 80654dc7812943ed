"""Stage two: the test loss of every trace, beside that of stage one."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from diagnostics.draw import paper

PLACE: Final = (0.1, 0.14, 0.72, 0.68)
LINE: Final = 0.05
"""Height of a line of text, as a part of the axes'."""


def draw_traces(results: Mapping[str, Any], *, name: str = "") -> Figure:
    """Draw the traces of stage two from the contents of ``results.json``.

    Args:
        results: A run with ``stage2``.
        name: Name of the run for the subtitle.
    """
    traces = results["stage2"]["traces"]
    with paper.style():
        figure = paper.new_figure(6.6, 4.0)
        axes = figure.add_axes(PLACE, label="test loss")
        paper.open_axes(axes)
        curves = [("stage one", results["training_history"], paper.INK)]
        colours = itertools.cycle(paper.BLOB_COLOURS)
        curves += [(f"trace {t['trace']}", t["training_history"], next(colours)) for t in traces]
        ends: list[tuple[float, str, str]] = []
        right = max((entry["epoch"] for _, h, _ in curves for entry in h[-1:]), default=1)
        for label, history, colour in curves:
            epochs = [entry["epoch"] for entry in history]
            losses = [entry["test"].get("scaled_loss") for entry in history]
            values = np.array([np.nan if loss is None else loss for loss in losses], dtype=float)
            axes.plot(epochs, values, color=colour, linewidth=1.4, label=label, marker=".")
            if len(values) and np.isfinite(values[-1]):
                ends.append((float(values[-1]), f"  {label}  {values[-1]:.4g}", colour))
        _label(axes, right, sorted(ends))
        axes.set(xlabel="epoch of its stage", ylabel="test scaled loss")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        ratios = [(t.get("comparison") or {}).get("ratio") for t in traces]
        shown = ", ".join("-" if ratio is None else f"{ratio:.3f}" for ratio in ratios[:6])
        figure.text(0.1, 0.94, "Frozen encoders from the mixture, against stage one",
                    fontsize=paper.TITLE_SIZE, weight="bold", va="center")  # fmt: skip
        note = f"test loss by stage one's, trace by trace: {shown}"
        subtitle = f"{name}  \N{MIDDLE DOT}  {note}" if name else note
        figure.text(0.1, 0.885, subtitle, fontsize=paper.TEXT_SIZE, color=paper.NOTE, va="center")
    return figure


def _label(axes: Axes, x: float, ends: list[tuple[float, str, str]]) -> None:
    """Write (value, text, colour) beside the axes, from the lowest up, none over another."""
    low, high = axes.get_ylim()
    at = low
    for value, text, colour in ends:
        at = max(value, at)
        axes.annotate(
            text, (x, value), (x, at), color=colour, fontsize=paper.TEXT_SIZE, va="center",
            annotation_clip=False,
        )  # fmt: skip
        at += LINE * (high - low)
    axes.set_ylim(low, high)
