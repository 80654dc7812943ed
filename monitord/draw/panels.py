"""One subject of one or many runs, drawn into a panel: the guide's four, or any series."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from monitord.draw import style
from monitord.draw.curves import (
    Curve,
    Scale,
    Subject,
    ValueAxis,
    shown_curves,
    value_axis,
)
from monitord.draw.decimation import Floats, smoothed
from monitord.draw.lettering import fitted, number, printable, width_in
from monitord.draw.panel import Panel
from monitord.draw.request import DrawOptions
from monitord.draw.ticks import linear_ticks
from monitord.series import RunSeries

NO_DIAGNOSTICS = "No diagnostics available"
MOST_RESTART_MARKS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A run in an overlay with its own colour and dash; None for the colours of the curves."""

    run: RunSeries
    colour: str | None = None
    dash: Any = "-"


def epoch_range(runs: Sequence[RunSeries]) -> tuple[float, float] | None:
    """Return first and last epoch of all runs, a little apart if they are one; None if none."""
    firsts = [float(run.epochs[0]) for run in runs if run.epochs.size]
    lasts = [float(run.epochs[-1]) for run in runs if run.epochs.size]
    if not firsts:
        return None
    low, high = min(firsts), max(lasts)
    return (low, high) if high > low else (low - 1.0, high + 1.0)


def draw_subject(
    panel: Panel,
    subject: Subject,
    drawn: Sequence[Drawn],
    options: DrawOptions,
    *,
    epochs: tuple[float, float] | None,
    x_texts: bool = True,
    title: bool = True,
) -> None:
    """Draw ``subject`` of all ``drawn`` runs into a placed and empty ``panel``."""
    if title:
        words = fitted(subject.title, panel.size_in[0], style.PANEL_TITLE_SIZE, bold=True)
        panel.text(
            0.0, 1.0, words, bold=True, size_pt=style.PANEL_TITLE_SIZE, shift_in=(0.0, 0.235)
        )
    panel.limit(epochs or (0.0, 1.0), (0.0, 1.0))
    if epochs is None:
        _say(panel, "No epoch yet")
        panel.frame([], [])
        return
    n_x_ticks = max(3, min(7, int(panel.size_in[0] / 0.45)))
    real = [epoch for each in drawn for epoch in each.run.epochs[:1].tolist()]
    real += [epoch for each in drawn for epoch in each.run.epochs[-1:].tolist()]
    x_ticks = [
        tick
        for tick in linear_ticks(*epochs, n_x_ticks, integers=True)
        if min(real) <= tick[0] <= max(real)
    ]
    curves = [(each, _curves_of(subject, each, len(drawn))) for each in drawn]
    arrays = [each.run.get(curve.series) for each, shown in curves for curve in shown]
    if not arrays:
        _mark_alarms(panel, subject, drawn)
        _say(panel, *_absence(subject, drawn))
        panel.frame(x_ticks, [], x_texts=x_texts)
        return
    axis = value_axis(subject.scale, arrays, log_y=options.log_y, height_in=panel.size_in[1])
    panel.limit(epochs, (axis.low, axis.high))
    if subject.scale is Scale.SIGNED:
        panel.line(
            np.array(epochs), np.zeros(2), colour=style.FRAME, width=style.FRAME_WIDTH, order=1.0
        )
    ends: list[tuple[float, str, str]] = []
    for each, shown in curves:
        ends += _draw_run(panel, subject, each, shown, axis, options)
    if len(drawn) == 1:
        _mark(panel, subject, drawn[0].run)
        panel.label_ends(ends)
        _note_silent(panel, subject, drawn[0].run, curves[0][1])
    else:
        _mark_alarms(panel, subject, drawn)
    panel.frame(x_ticks, axis.ticks, x_texts=x_texts)


def _curves_of(subject: Subject, each: Drawn, n_runs: int) -> tuple[Curve, ...]:
    """Return the curves to draw: among many runs only each run's leading one."""
    shown = shown_curves(subject, each.run)
    return shown if n_runs == 1 else shown[:1]


def _draw_run(
    panel: Panel,
    subject: Subject,
    each: Drawn,
    shown: Sequence[Curve],
    axis: ValueAxis,
    options: DrawOptions,
) -> list[tuple[float, str, str]]:
    """Draw the curves of one run; return its end labels: (position, words, colour)."""
    ends = []
    steps = subject.scale is Scale.COUNT
    for rank, curve in enumerate(shown):
        y = axis.positions(each.run.get(curve.series))
        colour = each.colour or curve.colour
        look: dict[str, Any] = {"colour": colour, "dash": each.dash, "steps": steps}
        if curve.faint:
            look |= {"colour": style.FAINT, "width": style.FAINT_WIDTH, "order": 1.6}
        elif rank:
            look |= {"width": style.FAINT_WIDTH + 0.2, "order": 1.8}
        elif each.colour:
            look |= {"width": 1.3}
        if options.smooth and not steps:
            faint = {**look, "alpha": 0.28, "width": 0.8, "order": 1.5, "dash": "-"}
            panel.line(each.run.epochs, y, **faint, label=f"{curve.series} (raw)")
            y = smoothed(y, options.smooth)
        panel.line(each.run.epochs, y, **look, label=curve.series)
        finite = np.flatnonzero(np.isfinite(y))
        if finite.size:
            value = y[finite[-1]]
            shown_value = number(10.0**value if axis.log else float(value))
            ends.append((float(value), f"{shown_value} {curve.label}".strip(), colour))
    return ends


def _mark(panel: Panel, subject: Subject, run: RunSeries) -> None:
    """Mark non-finite epochs, the birth of the blobs and restarts, in this order of importance."""
    _mark_alarms(panel, subject, [Drawn(run=run)])
    if run.born is not None:
        words = f"blobs born, epoch {run.born}" if subject.scale is Scale.COUNT else ""
        panel.mark(run.born, words, colour=style.GREEN, dash=(0, (4, 2)))
    for epoch in run.restarts[-MOST_RESTART_MARKS:]:
        panel.mark(epoch, "restart", colour=style.NOTE, dash=(0, (1, 1.5)))


def _mark_alarms(panel: Panel, subject: Subject, drawn: Sequence[Drawn]) -> None:
    """Mark the epochs at which a series of this panel was NaN or infinite."""
    places = []
    for each in drawn:
        for curve in subject.curves:
            flags = each.run.nonfinite.get(curve.series)
            if flags is not None and flags.any():
                places.append(each.run.epochs[flags])
    if places:
        epochs: Floats = np.unique(np.concatenate(places))
        last = max(float(each.run.epochs[-1]) for each in drawn if each.run.epochs.size)
        first = f"{epochs[0]:.0f}"
        if epochs.size == 1:
            words = f"NaN, epoch {first}"
        elif epochs[-1] == last and epochs.size == last - epochs[0] + 1:
            words = f"NaN from epoch {first}"
        else:
            words = f"NaN in {epochs.size} epochs"
        panel.alarm(epochs, words)


def _absence(subject: Subject, drawn: Sequence[Drawn]) -> tuple[str, str]:
    """Return what to say in an empty panel, and why it is empty."""
    if subject.needs_diagnostics:
        reasons = {each.run.diagnostics_missing for each in drawn}
        if None not in reasons:
            return NO_DIAGNOSTICS, "; ".join(sorted(reason for reason in reasons if reason))
    if any(curve.series in each.run.values for each in drawn for curve in subject.curves):
        return "No value yet", subject.absence
    return "No such series", "in none of these runs" if len(drawn) > 1 else ""


def _note_silent(panel: Panel, subject: Subject, run: RunSeries, shown: Sequence[Curve]) -> None:
    """Say which series of the panel exists but never had a value, so that it is not missed."""
    names = {curve.series for curve in shown}
    for curve in subject.curves:
        silent = curve.series in run.values and curve.series not in names
        if silent and curve.label and curve.series not in run.nonfinite:
            words = f"{curve.label}: {subject.absence}"
            taken = width_in(subject.title, style.PANEL_TITLE_SIZE, bold=True) + 0.15
            if taken + width_in(words, style.TEXT_SIZE) <= panel.size_in[0]:
                shift = (0.0, 0.235)
                panel.text(1.0, 1.0, words, colour=style.NOTE, align="right", shift_in=shift)


def _say(panel: Panel, words: str, reason: str = "") -> None:
    """Write a message into the middle of an empty panel."""
    n_characters = max(int(panel.size_in[0] / 0.068), 12)
    lines = textwrap.wrap(printable(reason), n_characters, max_lines=3, placeholder=" \u2026")
    panel.text(0.5, 0.56 if lines else 0.5, words, colour=style.NOTE, align="center", size_pt=9.0)
    for row, line in enumerate(lines):
        shift = (0.0, -0.17 - 0.14 * row)
        panel.text(0.5, 0.56, line, colour=style.NOTE, align="center", shift_in=shift)
