"""A figure that is reused for picture after picture: panels placed by inches, header, key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from monitord.draw import style
from monitord.draw.canvas import own_settings
from monitord.draw.curves import GUIDE_SUBJECTS, Scale, Subject, metric_subject
from monitord.draw.lettering import fitted, number, told_apart, width_in
from monitord.draw.overview import draw_overview
from monitord.draw.panel import Panel
from monitord.draw.panels import Drawn, draw_subject, epoch_range
from monitord.draw.request import DrawOptions
from monitord.draw.stages import draw_stage_two
from monitord.draw.summary import best_loss, summary
from monitord.series import RunSeries

OVERVIEW_SIZE = (13.0, 7.6)
KEY_WIDTH = 2.8
ROW_HEIGHT = 2.05
MOST_ROWS = 20
MOST_OVERLAID = 21
MOST_METRICS = 24
STAGE_TWO: Final = Subject(title="Stage two", curves=(), scale=Scale.LOSS)


class Sheet:
    """Draws any picture of runs into one figure that keeps its panels between pictures.

    Args:
        figure: The figure to use, such as a window's, whose size is then kept; None for a figure
            of its own, which takes the size that each picture needs.
    """

    def __init__(self, figure: Figure | None = None) -> None:
        """Make the figure; the panels come with the first picture."""
        self._sized = figure is None
        if figure is None:
            with own_settings():
                figure = Figure(figsize=style.SHEET_SIZE, dpi=style.DPI, facecolor=style.PAPER)
            FigureCanvasAgg(figure)
        self.figure = figure
        self.panels: list[Panel] = []
        self._n_used = 0

    def draw(self, runs: Sequence[RunSeries], options: DrawOptions) -> Figure:
        """Draw ``runs`` as ``options`` say and return the figure, ready to be written."""
        with own_settings():
            self._draw(runs, options)
        return self.figure

    def _draw(self, runs: Sequence[RunSeries], options: DrawOptions) -> None:
        """Empty the sheet and choose the layout."""
        for panel in self.panels:
            panel.clear()
        self._n_used = 0
        if options.overview:
            self._resize(*OVERVIEW_SIZE)
            draw_overview(self, runs)
        elif not runs:
            self._resize(*style.SHEET_SIZE)
            self.header("No runs", "nothing to draw")
        elif len(runs) == 1:
            self._draw_single(runs[0], options)
        elif options.overlay:
            self._draw_overlay(runs, options)
        else:
            self._draw_rows(runs, options)

    def panel(self, left: float, bottom: float, width: float, height: float) -> Panel:
        """Return an empty panel at a rectangle in inches: a kept one if there is one."""
        if self._n_used == len(self.panels):
            self.panels.append(Panel(self.figure))
        panel = self.panels[self._n_used]
        self._n_used += 1
        panel.place(left, bottom, width, height)
        return panel

    def header(self, title: str, subtitle: str) -> None:
        """Write title and subtitle at the upper left."""
        width, height = self.size_in
        room = width - style.MARGIN_LEFT - 0.2
        page = self.panel(0.0, 0.0, width, height)
        left = (style.MARGIN_LEFT - 0.28) / width
        title = fitted(title, room, style.TITLE_SIZE, bold=True)
        subtitle = fitted(subtitle, room, style.SUBTITLE_SIZE)
        size, small = style.TITLE_SIZE, style.SUBTITLE_SIZE
        page.text(left, 1.0, title, bold=True, size_pt=size, shift_in=(0.0, -0.24))
        page.text(left, 1.0, subtitle, colour=style.NOTE, size_pt=small, shift_in=(0.0, -0.46))

    @property
    def size_in(self) -> tuple[float, float]:
        """Width and height of the figure in inches."""
        width, height = self.figure.get_size_inches()
        return float(width), float(height)

    def _resize(self, width: float, height: float) -> None:
        if self._sized:
            self.figure.set_size_inches(width, height)

    def _draw_single(self, run: RunSeries, options: DrawOptions) -> None:
        """Draw the guide's four panels, or one panel per metric, of one run."""
        subjects = _subjects(options)
        extra = (STAGE_TWO,) if run.traces and not options.metrics else ()
        n_columns = _n_columns(len(subjects) + len(extra))
        n_rows = -(-(len(subjects) + len(extra)) // n_columns)
        self._resize(
            style.SHEET_SIZE[0] * (1.3 if n_columns == 3 else 1.0),
            style.SHEET_SIZE[1] if n_rows <= 2 else style.HEADER + 0.5 + 2.4 * n_rows,
        )
        self.header(run.name, summary(run))
        shown = (*subjects, *extra)
        self._draw_grid(shown, [Drawn(run=run)], options, n_columns, style.END_LABELS, 0.0)

    def _draw_overlay(self, runs: Sequence[RunSeries], options: DrawOptions) -> None:
        """Draw all runs into the same panels, with a key at the right."""
        ranked = sorted(runs, key=lambda run: best_loss(run)[0])
        shown = ranked[:MOST_OVERLAID]
        drawn = []
        for position, run in enumerate(shown):
            colour, dash = style.run_style(position)
            drawn.append(Drawn(run=run, colour=colour, dash=dash))
        subjects = _subjects(options)
        n_columns = _n_columns(len(subjects))
        n_rows = -(-len(subjects) // n_columns)
        self._resize(
            style.SHEET_SIZE[0] * (1.3 if n_columns == 3 else 1.0) + 1.2,
            style.SHEET_SIZE[1] if n_rows <= 2 else style.HEADER + 0.5 + 2.4 * n_rows,
        )
        left_out = f", the best {len(shown)} drawn" if len(shown) < len(runs) else ""
        self.header(f"{len(runs)} runs{left_out}", "test loss and diagnostics over all pairs")
        self._draw_grid(subjects, drawn, options, n_columns, 0.25, KEY_WIDTH)
        self._draw_key(drawn, len(runs) - len(shown))

    def _draw_grid(
        self,
        subjects: Sequence[Subject],
        drawn: Sequence[Drawn],
        options: DrawOptions,
        n_columns: int,
        right_in: float,
        reserved_in: float,
    ) -> None:
        """Draw the subjects in rows of ``n_columns``; ``right_in`` is left free beside each."""
        width, height = self.size_in
        n_rows = -(-len(subjects) // n_columns)
        cell_width = (width - reserved_in) / n_columns
        cell_height = (height - style.HEADER - style.MARGIN_BOTTOM) / n_rows
        epochs = epoch_range([each.run for each in drawn])
        for index, subject in enumerate(subjects):
            row, column = divmod(index, n_columns)
            lowest = index + n_columns >= len(subjects)
            panel = self.panel(
                column * cell_width + style.MARGIN_LEFT,
                style.MARGIN_BOTTOM + (n_rows - 1 - row) * cell_height + style.ROW_GAP / 2,
                cell_width - style.MARGIN_LEFT - right_in,
                cell_height - style.PANEL_HEADER - style.ROW_GAP,
            )
            if subject is STAGE_TWO:
                draw_stage_two(panel, drawn[0].run, options)
            else:
                inner, parts = _resolved(subject, drawn)
                own = epochs if parts == list(drawn) else epoch_range([each.run for each in parts])
                draw_subject(panel, inner, parts, options, epochs=own, x_texts=lowest)
            if lowest:
                panel.text(
                    0.5, 0.0, "epoch", align="center", colour=style.NOTE, shift_in=(0.0, -0.28)
                )

    def _draw_rows(self, runs: Sequence[RunSeries], options: DrawOptions) -> None:
        """Draw a row of panels for each run, the runs' names above their rows."""
        shown = runs[:MOST_ROWS]
        subjects = _subjects(options)
        self._resize(3.1 * max(len(subjects), 3), style.HEADER + ROW_HEIGHT * len(shown) + 0.1)
        hidden = len(runs) - len(shown)
        words = f"the first {len(shown)} shown, {hidden} more left out" if hidden else ""
        self.header(f"{len(runs)} runs", words or "one row each")
        width, height = self.size_in
        cell_width, cell_height = width / len(subjects), (height - style.HEADER - 0.1) / len(shown)
        for row, run in enumerate(shown):
            epochs = epoch_range([run])
            top = height - style.HEADER - row * cell_height
            name = self.panel(style.MARGIN_LEFT - 0.28, top - 0.24, width - 0.5, 0.2)
            words = summary(run)
            room = max(name.size_in[0] - width_in(words, style.TEXT_SIZE) - 0.3, 1.0)
            name.text(0.0, 0.5, fitted(run.name, room, 9.0, bold=True), bold=True, size_pt=9.0)
            name.text(1.0, 0.5, words, colour=style.NOTE, align="right")
            for column, subject in enumerate(subjects):
                panel = self.panel(
                    column * cell_width + style.MARGIN_LEFT,
                    top - cell_height + 0.28,
                    cell_width - style.MARGIN_LEFT - 0.85,
                    cell_height - 0.28 - 0.24 - style.PANEL_HEADER,
                )
                inner, parts = _resolved(subject, [Drawn(run=run)])
                draw_subject(panel, inner, parts, options, epochs=epochs)

    def _draw_key(self, drawn: Sequence[Drawn], n_hidden: int) -> None:
        """Write the names of the runs beside a sample of their lines, the best one first."""
        width, height = self.size_in
        room = height - style.HEADER - 0.35
        step = min(0.25, room / (len(drawn) + 2))
        key = self.panel(width - KEY_WIDTH, 0.0, KEY_WIDTH - 0.2, height)
        key.limit((0.0, key.size_in[0]), (0.0, height))
        top = height - style.HEADER - 0.12
        right, note = key.size_in[0], style.NOTE
        key.text(0.36, top, "run", colour=note, data=True)
        key.text(right, top, "best loss", align="right", colour=note, data=True)
        room = right - 0.36 - 0.55
        names = told_apart([each.run.name for each in drawn], room, style.KEY_SIZE)
        for rank, (each, name) in enumerate(zip(drawn, names, strict=True), start=1):
            y = top - rank * step
            colour = each.colour or style.INK
            key.line(np.array([0.0, 0.28]), np.array([y, y]), colour=colour, dash=each.dash)
            loss = best_loss(each.run)[0]
            value = number(loss) if np.isfinite(loss) else "none"
            key.text(0.36, y, name, size_pt=style.KEY_SIZE, data=True)
            key.text(right, y, value, size_pt=style.KEY_SIZE, align="right", data=True)
        if n_hidden:
            y = top - (len(drawn) + 1) * step
            key.text(0.36, y, f"and {n_hidden} more", colour=note, data=True)


def _subjects(options: DrawOptions) -> tuple[Subject, ...]:
    """Return the subjects of the panels: the chosen metrics, or the guide's four."""
    chosen = tuple(metric_subject(name) for name in options.metrics[:MOST_METRICS])
    return chosen or GUIDE_SUBJECTS


def _resolved(subject: Subject, drawn: Sequence[Drawn]) -> tuple[Subject, list[Drawn]]:
    """Return subject and runs; for a series of stage two, the traces of those runs that have it."""
    name = subject.curves[0].series
    held = [(each, *each.run.part_with(name)) for each in drawn]
    parts = [(replace(each, run=part), own) for each, part, own in held if part is not each.run]
    if not parts:
        return subject, list(drawn)
    curve = replace(subject.curves[0], series=parts[0][1])
    return replace(subject, curves=(curve,)), [each for each, _ in parts]


def _n_columns(n_subjects: int) -> int:
    return 1 if n_subjects == 1 else 2 if n_subjects <= 4 else 3
