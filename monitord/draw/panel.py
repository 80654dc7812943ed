"""One panel of a figure: lines, frame, ticks and labels at fixed places, reused between pictures.

matplotlib lays out an Axis anew at each drawing, which costs more than all lines together. Here
the Axes object gives only transforms and clipping; frame, grid, ticks and their texts are plain
artists at positions that `monitord.draw.ticks` computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.artist import Artist
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import blended_transform_factory

from monitord.draw import style
from monitord.draw.decimation import Floats, decimate, isolated_points
from monitord.draw.labels import Label, Labels
from monitord.draw.lettering import spread, width_in
from monitord.draw.ticks import Tick

TICK_LENGTH, TICK_GAP = 0.035, 0.06
LINE_HEIGHT = 1.35


class Panel:
    """A rectangle of a figure with data coordinates.

    Attributes:
        figure: The figure that the panel is a part of.
        axes: Its axes; the switched-off frame is drawn by `frame`.
        labels: Everything written in the panel.
    """

    def __init__(self, figure: Figure) -> None:
        """Add a panel to ``figure``, not yet placed."""
        self.figure = figure
        self.axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        self.axes.set_axis_off()
        self.axes.set_autoscale_on(False)
        self.axes.set_title("", y=1.0)  # an explicit place: no search for one at each drawing
        self.labels = Labels()
        self.axes.add_artist(self.labels)
        self.size_in = (1.0, 1.0)
        self._artists: list[Artist] = []
        self._marks: list[tuple[float, float]] = []

    def place(self, left: float, bottom: float, width: float, height: float) -> None:
        """Move the panel to a rectangle in inches, make it visible, and empty it."""
        sheet_width, sheet_height = self.figure.get_size_inches()
        width, height = max(width, 0.2), max(height, 0.2)
        self.axes.set_position(
            (left / sheet_width, bottom / sheet_height, width / sheet_width, height / sheet_height)
        )
        self.size_in = (width, height)
        self.clear()
        self.axes.set_visible(True)

    def clear(self) -> None:
        """Remove what was drawn and hide the panel."""
        for artist in self._artists:
            artist.remove()
        self._artists.clear()
        self._marks.clear()
        self.labels.labels.clear()
        self.axes.set_visible(False)

    def limit(self, x: tuple[float, float], y: tuple[float, float]) -> None:
        """Set the range of data that the panel shows."""
        self.axes.set_xlim(x, auto=False)
        self.axes.set_ylim(y, auto=False)

    @property
    def n_columns(self) -> int:
        """Width in pixels."""
        return max(int(self.size_in[0] * self.figure.dpi), 1)

    def add(self, artist: Artist) -> None:
        """Add an artist that the next `clear` removes."""
        self.axes.add_artist(artist)
        self._artists.append(artist)

    def text(
        self,
        x: float,
        y: float,
        words: str,
        *,
        size_pt: float = style.TEXT_SIZE,
        colour: str = style.INK,
        bold: bool = False,
        shift_in: tuple[float, float] = (0.0, 0.0),
        align: Literal["left", "center", "right"] = "left",
        data: bool = False,
    ) -> None:
        """Write ``words`` at a place of the panel, 0 to 1, or with ``data`` at data coordinates."""
        label = Label(
            words=words,
            place=(x, y),
            at=self.axes.transData if data else self.axes.transAxes,
            size_pt=size_pt,
            colour=colour,
            bold=bold,
            shift_in=shift_in,
            align=align,
        )
        self.labels.labels.append(label)

    def line(
        self,
        x: Floats,
        y: Floats,
        *,
        colour: str,
        width: float = style.STRONG_WIDTH,
        dash: Any = "-",
        alpha: float = 1.0,
        steps: bool = False,
        label: str = "",
        order: float = 2.0,
    ) -> None:
        """Draw a line through finite values, decimated; a value between two gaps is a dot."""
        lonely = isolated_points(y)
        x_kept, y_kept = decimate(x, y, self.n_columns)
        self.add(
            Line2D(
                x_kept,
                y_kept,
                color=colour,
                linewidth=width,
                linestyle=dash,
                alpha=alpha,
                drawstyle="steps-post" if steps else "default",
                solid_joinstyle="round",
                solid_capstyle="round",
                marker="None",
                antialiased=True,
                label=label,
                zorder=order,
            )
        )
        if lonely.any():
            self.dots(x[lonely], y[lonely], colour=colour, size_pt=2.2 * width, order=order)

    def dots(
        self, x: Floats, y: Floats, *, colour: str, size_pt: float = 3.5, order: float = 2.0
    ) -> None:
        """Draw one dot per point."""
        self.add(
            Line2D(
                x,
                y,
                color=colour,
                linestyle="None",
                marker="o",
                markersize=size_pt,
                markeredgewidth=0.0,
                clip_on=False,
                zorder=order,
            )
        )

    def frame(
        self, x_ticks: Sequence[Tick], y_ticks: Sequence[Tick], *, x_texts: bool = True
    ) -> None:
        """Draw the left and lower edge, ticks, their texts, and faint horizontal grid lines."""
        (x0, x1), (y0, y1) = self.axes.get_xlim(), self.axes.get_ylim()
        dx, dy = TICK_LENGTH / self.size_in[0], TICK_LENGTH / self.size_in[1]
        xs = [(place - x0) / (x1 - x0) for place, _ in x_ticks]
        ys = [(place - y0) / (y1 - y0) for place, _ in y_ticks]
        edges = [[(0.0, 0.0), (1.0, 0.0)], [(0.0, 0.0), (0.0, 1.0)]]
        edges += [[(x, 0.0), (x, -dy)] for x in xs] + [[(0.0, y), (-dx, y)] for y in ys]
        grid = [[(0.0, y), (1.0, y)] for y in ys if y > 0.005]
        self._segments(grid, style.GRID, style.FRAME_WIDTH, order=0.5)
        self._segments(edges, style.FRAME, style.FRAME_WIDTH, order=3.0)
        size, colour = style.TICK_SIZE, style.NOTE
        left, below = (-TICK_GAP, 0.0), (0.0, -TICK_GAP - 0.06)
        for y, (_, words) in zip(ys, y_ticks, strict=True):
            self.text(0.0, y, words, align="right", shift_in=left, size_pt=size, colour=colour)
        for x, (_, words) in zip(xs, x_ticks if x_texts else [], strict=False):
            self.text(x, 0.0, words, align="center", shift_in=below, size_pt=size, colour=colour)

    def _segments(
        self, segments: list[list[tuple[float, float]]], colour: str, width: float, *, order: float
    ) -> None:
        """Draw straight lines given in the panel's own coordinates, 0 to 1."""
        if segments:
            lines = LineCollection(
                segments,
                colors=[colour],
                linewidths=[width],
                transform=self.axes.transAxes,
                clip_on=False,
                zorder=order,
                capstyle="butt",
            )
            self.add(lines)

    def mark(self, x: float, words: str, *, colour: str, dash: Any) -> None:
        """Draw a vertical line at ``x`` and, where there is room, its words above the panel."""
        self.add(
            Line2D(
                [x, x],
                [0.0, 1.0],
                transform=blended_transform_factory(self.axes.transData, self.axes.transAxes),
                color=colour,
                linewidth=style.MARK_WIDTH,
                linestyle=dash,
                marker="None",
                zorder=1.0,
            )
        )
        self.mark_words(x, words, colour=colour)

    def mark_words(self, x: float, words: str, *, colour: str) -> None:
        """Write ``words`` above the panel at ``x``, unless that would cover an earlier mark."""
        x0, x1 = self.axes.get_xlim()
        width, room = width_in(words, style.TEXT_SIZE), self.size_in[0]
        if not words or not x1 > x0:
            return
        centre = (x - x0) / (x1 - x0) * room
        left = min(max(centre - width / 2, 0.0), max(room - width, 0.0))
        if any(left < right + 0.08 and left + width + 0.08 > start for start, right in self._marks):
            return
        self._marks.append((left, left + width))
        self.text(left / room, 1.0, words, colour=colour, shift_in=(0.0, 0.085))

    def alarm(self, x: Floats, words: str) -> None:
        """Draw a red tick at the upper edge for each of the epochs ``x``, at most one a pixel."""
        x0, x1 = self.axes.get_xlim()
        places = np.unique(np.round((x - x0) / (x1 - x0) * self.n_columns)) / self.n_columns
        height = 0.09 / self.size_in[1]
        self._segments(
            [[(place, 1.0 - height), (place, 1.0)] for place in places.tolist()],
            style.ALARM,
            1.4,
            order=4.0,
        )
        self.mark_words(float(x[0]), words, colour=style.ALARM)

    def label_ends(
        self, ends: Sequence[tuple[float, str, str]], *, size_pt: float = style.TEXT_SIZE
    ) -> None:
        """Write a label at the right of each line's end: (its y value, words, colour)."""
        y0, y1 = self.axes.get_ylim()
        wanted = [(y - y0) / (y1 - y0) for y, _, _ in ends]
        gap = size_pt * LINE_HEIGHT / 72.0 / self.size_in[1]
        for place, (_, words, colour) in zip(spread(wanted, gap, 0.0, 1.0), ends, strict=True):
            self.text(1.0, place, words, size_pt=size_pt, colour=colour, shift_in=(0.07, 0))
