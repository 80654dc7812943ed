"""``encoder_decoder_pairs.png``: all weight pairs, the blobs among them, and both marginals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from matplotlib.patheffects import withStroke
from matplotlib.ticker import NullFormatter, NullLocator

from diagnostics.contract.density import DensityGrid, GridAxis
from diagnostics.contract.density_view import View, marginal, raster, view_of
from diagnostics.draw import paper

WIDTH: Final = 6.6
HEIGHT: Final = 6.6
MAIN: Final = (0.115, 0.085, 0.69, 0.69)
GAP: Final = 0.014
MARGINAL: Final = 0.115
LABELLED_BLOBS: Final = 8


def draw_pairs(
    grid: DensityGrid,
    structure: Mapping[str, Any],
    *,
    epoch: int | None = None,
    born: int | None = None,
    name: str = "",
    view: View | None = None,
) -> Figure:
    """Draw the density of all weight pairs with its blobs.

    Args:
        grid: All pairs, see :func:`diagnostics.contract.density.build_density`.
        structure: What :func:`diagnostics.blobs.find_blobs` says of the grid.
        epoch: Number for the title; None leaves it out.
        born: The epoch since which there have been so many blobs, for the title; None likewise.
        name: Name of the run for the subtitle.
        view: Window and colour range, to share them between pictures; None fits the grid.

    Returns:
        The figure, axes labelled ``pairs``, ``encoder marginal``, ``decoder marginal``, ``scale``.
    """
    view = view or view_of([grid])
    with paper.style():
        figure = paper.new_figure(WIDTH, HEIGHT)
        left, bottom, width, height = MAIN
        axes = figure.add_axes(MAIN, label="pairs")
        above = (left, bottom + height + GAP, width, MARGINAL)
        top = figure.add_axes(above, label="encoder marginal", sharex=axes)
        beside = (left + width + GAP, bottom, MARGINAL, height)
        right = figure.add_axes(beside, label="decoder marginal", sharey=axes)
        _draw_density(axes, grid, view)
        blobs: Sequence[Mapping[str, Any]] = structure["blobs"]
        _draw_blobs(axes, blobs if grid.n_pairs else (), grid.n_pairs)
        if grid.n_pairs:
            _draw_marginals(top, right, grid, view)
        else:
            top.set_axis_off()
            right.set_axis_off()
            say_nothing_finite(axes, grid)
        _draw_scale(figure, axes, view)
        _write_title(figure, title_of(structure, epoch, born), grid, view, name)
    return figure


def say_nothing_finite(axes: Axes, grid: DensityGrid) -> None:
    """Say in the middle of empty axes that there is nothing to be drawn, and why."""
    words = f"no finite weight pair\n{grid.n_nonfinite_pairs:,} are not finite"
    axes.text(0.5, 0.5, words, ha="center", va="center", color=paper.NOTE, transform=axes.transAxes)


def title_of(structure: Mapping[str, Any], epoch: int | None, born: int | None = None) -> str:
    """Return the title: epoch, number of blobs and since when, separation."""
    n_blobs, separation = structure["n_blobs"], structure["separation"]
    words = [] if epoch is None else [f"Epoch {epoch}"]
    blobs = f"{n_blobs} blob" + ("" if n_blobs == 1 else "s")
    # One blob is what every run begins with.
    words.append(blobs if born is None or n_blobs < 2 else f"{blobs} since epoch {born}")
    if separation is not None:
        words.append(f"separation {separation:.2f}")
    return "  \N{MIDDLE DOT}  ".join(words)


def ellipse_of(blob: Mapping[str, Any]) -> tuple[float, float, float]:
    """Return full width, full height and angle in degrees of a blob's one-sigma ellipse."""
    sx, sy = blob["std"]
    r = blob["correlation"] or 0.0
    values, vectors = np.linalg.eigh([[sx * sx, r * sx * sy], [r * sx * sy, sy * sy]])
    major = vectors[:, 1]
    minor_length, length = 2.0 * np.sqrt(np.maximum(values, 0.0))
    return float(length), float(minor_length), math.degrees(math.atan2(major[1], major[0]))


def _draw_density(axes: Axes, grid: DensityGrid, view: View) -> None:
    low, high = view.density
    axes.imshow(
        np.ma.masked_equal(raster(grid, view), 0.0),
        # Clipped: what is sparser than the scale's end still has the scale's lightest colour.
        norm=LogNorm(low, high, clip=True),
        cmap=paper.density_colours(),
        extent=(*view.encoder, *view.decoder),
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        label="density",
    )
    axes.set(xlim=view.encoder, ylim=view.decoder)
    paper.label_weights(axes.xaxis, paper.ENCODER_LABEL, view.encoder)
    paper.label_weights(axes.yaxis, paper.DECODER_LABEL, view.decoder)
    axes.locator_params(nbins=8)


def _draw_blobs(axes: Axes, blobs: Sequence[Mapping[str, Any]], n_pairs: int) -> None:
    halo = withStroke(linewidth=2.4, foreground="white")
    for blob in blobs:
        width, height, angle = ellipse_of(blob)
        x, y = blob["center"]
        ellipse = Ellipse((x, y), width, height, angle=angle, fill=False, label="one sigma")
        ellipse.set(edgecolor=paper.INK, linewidth=0.9, path_effects=[halo], zorder=4)
        axes.add_patch(ellipse)
        axes.plot(
            *(x, y),
            "+",
            color=paper.INK,
            markersize=5.5,
            markeredgewidth=0.9,
            zorder=5,
            path_effects=[halo],
            label="center",
        )
    if 2 <= len(blobs) <= LABELLED_BLOBS:
        for blob in blobs:
            _label(axes, blob, n_pairs, halo)


def _label(axes: Axes, blob: Mapping[str, Any], n_pairs: int, halo: Any) -> None:
    """Write the share beside the ellipse, towards the middle of the picture."""
    low, high = axes.get_xlim()
    x, y = blob["center"]
    to_left = x > 0.5 * (low + high) + 0.2 * (high - low)
    # So far, on a horizontal through its centre, reach the pairs of a normal blob of this size.
    sigmas = math.sqrt(2.0 * math.log(max(2.0, blob["share"] * n_pairs)))
    reach = sigmas * blob["std"][0] * math.sqrt(1.0 - (blob["correlation"] or 0.0) ** 2)
    axes.annotate(
        percent(blob["share"]),
        (x - reach if to_left else x + reach, y),
        xytext=(-7 if to_left else 7, 0),
        textcoords="offset points",
        ha="right" if to_left else "left",
        va="center",
        fontsize=paper.TEXT_SIZE,
        path_effects=[halo],
        zorder=6,
    )


def percent(share: float) -> str:
    """Return a share as text, with two or three significant digits."""
    return f"{100.0 * share:{'.3g' if share >= 0.01 else '.2g'}} %"


def _draw_marginals(top: Axes, right: Axes, grid: DensityGrid, view: View) -> None:
    sides: tuple[tuple[Axes, GridAxis, Any, Literal["vertical", "horizontal"]], ...] = (
        (top, grid.encoder_axis, grid.counts.sum(axis=1), "vertical"),
        (right, grid.decoder_axis, grid.counts.sum(axis=0), "horizontal"),
    )
    for axes, axis, counts, orientation in sides:
        edges, density = marginal(axis, counts)
        upright = orientation == "vertical"
        ends = view.encoder_marginal if upright else view.decoder_marginal
        axes.stairs(
            np.maximum(density, ends[0]),
            edges,
            orientation=orientation,
            baseline=ends[0],
            fill=True,
            facecolor=paper.FILL,
            edgecolor=paper.BLUE,
            linewidth=0.7,
        )
        if upright:
            axes.set(yscale="log", ylim=ends)
        else:
            axes.set(xscale="log", xlim=ends)
        values = axes.yaxis if upright else axes.xaxis
        # Two numbers below each other have room; three beside each other have not.
        paper.logarithmic(values, decades(*ends, n_most=3 if upright else 2))
        axes.tick_params("x" if upright else "y", labelbottom=False, labelleft=False, length=0)
        axes.tick_params("y" if upright else "x", labelsize=6.5, labelcolor=paper.NOTE)
        paper.open_axes(axes)


def _draw_scale(figure: Figure, axes: Axes, view: View) -> None:
    """Put the colour scale into the corner that the two marginals leave free."""
    left, bottom, width, height = MAIN
    place = (left + width + 2 * GAP, bottom + height + GAP + 0.04, MARGINAL, 0.013)
    scale = figure.add_axes(place, label="scale")
    image = axes.images[0]
    bar = figure.colorbar(image, cax=scale, orientation="horizontal")
    low, high = view.density
    ticks = decades(low / high, 1.0)
    bar.set_ticks(
        [high * tick for tick in ticks], labels=[paper.power_of_ten(tick) for tick in ticks]
    )
    bar.ax.xaxis.set_minor_formatter(NullFormatter())
    bar.ax.xaxis.set_minor_locator(NullLocator())
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=6.5, labelcolor=paper.NOTE, length=2)
    bar.ax.set_title("density / peak", fontsize=7, color=paper.NOTE, pad=4)


def decades(low: float, high: float, n_most: int = 3) -> list[float]:
    """Return powers of ten from ``low`` to ``high``, the highest included, at most ``n_most``."""
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    step = max(1, math.ceil((last - first + 1) / n_most))
    return [10.0**k for k in range(last, first - 1, -step)]


def _write_title(figure: Figure, title: str, grid: DensityGrid, view: View, name: str) -> None:
    figure.text(MAIN[0], 0.962, title, fontsize=paper.TITLE_SIZE, weight="bold", va="center")
    words = [name] if name else []
    words.append(f"all {grid.n_pairs:,} weight pairs")
    if n_outside := view.n_outside(grid):
        words.append(f"{n_outside:,} outside the frame")
    if grid.n_nonfinite_pairs:
        words.append(f"{grid.n_nonfinite_pairs:,} not finite")
    subtitle = "  \N{MIDDLE DOT}  ".join(words)
    figure.text(
        MAIN[0],
        0.932,
        subtitle,
        fontsize=paper.TEXT_SIZE,
        color=paper.NOTE,
        va="center",
    )
