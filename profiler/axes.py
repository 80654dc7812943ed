"""What the panels of the picture have in common."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter, NullLocator

from profiler.measure import Estimate

GREY = "#8a8f98"
CLIPPED = 1.6
"""An interval is drawn up to this multiple of the largest value; its end is written beside it."""
HEADROOM = 1.25
"""Space above the data for the legend, so that it covers none of it."""


def interval_top(estimates: Collection[Estimate]) -> float:
    """Return where the intervals end in the picture: a wide one must not flatten all others."""
    highest = max(e.high for e in estimates)
    return min(highest, CLIPPED * max(e.value for e in estimates))


def draw_intervals(
    axes: Axes,
    estimates: Mapping[int, Estimate],
    top: float,
    text_of: Callable[[float], str],
    **style: Any,
) -> None:
    """Draw values with their intervals by batch size, those that end above ``top`` up to there."""
    sizes, found = list(estimates), list(estimates.values())
    below = [max(0.0, e.value - e.low) for e in found]
    above = [max(0.0, min(e.high, top) - e.value) for e in found]
    values = [e.value for e in found]
    axes.errorbar(sizes, values, yerr=[below, above], marker="o", capsize=4, **style)
    for size, estimate in estimates.items():
        if estimate.high > top:
            side = -1 if size == max(sizes) else 1
            axes.annotate(
                f"to {text_of(estimate.high)}",
                (size, top),
                xytext=(6 * side, -8),
                textcoords="offset points",
                ha="left" if side > 0 else "right",
                fontsize=8,
                color=GREY,
            )


def place_legend(axes: Axes, n_columns: int) -> None:
    """Put the legend into the headroom."""
    axes.legend(
        facecolor="white",
        edgecolor="none",
        framealpha=1,
        loc="upper left",
        ncols=n_columns,
        fontsize=8,
        columnspacing=0.9,
        handlelength=1.3,
    )


def size_axis(axes: Axes, sizes: list[int]) -> None:
    """Make the horizontal axis one of batch sizes."""
    axes.set_xlabel("batch size")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(NullLocator())
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    if len(sizes) > 8:
        axes.tick_params(axis="x", labelrotation=45)


def say(axes: Axes, text: str) -> None:
    """Write why there is nothing to draw."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=GREY)
    axes.set_xticks([])
    axes.set_yticks([])
