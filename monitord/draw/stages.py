"""Stage two in one panel: the test loss of each trace, and the last of stage one to meet."""

from __future__ import annotations

import numpy as np

from monitord.draw import style
from monitord.draw.curves import Scale, value_axis
from monitord.draw.lettering import number
from monitord.draw.panel import Panel
from monitord.draw.panels import epoch_range
from monitord.draw.request import DrawOptions
from monitord.draw.ticks import linear_ticks
from monitord.series import TEST_LOSS, RunSeries

MOST_NAMED = 5


def draw_stage_two(panel: Panel, run: RunSeries, options: DrawOptions) -> None:
    """Draw the traces of ``run`` into a placed and empty ``panel``, over their own epochs."""
    panel.text(
        0.0, 1.0, "Stage two, test loss", bold=True, size_pt=style.PANEL_TITLE_SIZE,
        shift_in=(0.0, 0.235),
    )  # fmt: skip
    traces = list(run.traces.values())
    epochs = epoch_range(traces)
    finite = run.get(TEST_LOSS)[np.isfinite(run.get(TEST_LOSS))]
    losses = [trace.get(TEST_LOSS) for trace in traces]
    if epochs is None or not any(np.isfinite(loss).any() for loss in losses):
        panel.limit((0.0, 1.0), (0.0, 1.0))
        panel.text(0.5, 0.5, "No value yet", colour=style.NOTE, align="center", size_pt=9.0)
        panel.frame([], [])
        return
    axis = value_axis(
        Scale.LOSS, [*losses, finite[-1:]], log_y=options.log_y, height_in=panel.size_in[1]
    )
    panel.limit(epochs, (axis.low, axis.high))
    ends: list[tuple[float, str, str]] = []
    if finite.size:
        level = float(axis.positions(finite[-1:])[0])
        panel.line(
            np.array(epochs), np.array([level, level]), colour=style.FAINT,
            width=style.FAINT_WIDTH, dash=(0, (4, 2)), order=1.6,
        )  # fmt: skip
        ends.append((level, f"{number(float(finite[-1]))} stage one", style.NOTE))
    for position, (trace, loss) in enumerate(zip(traces, losses, strict=True)):
        colour, dash = style.run_style(position)
        y = axis.positions(loss)
        panel.line(trace.epochs, y, colour=colour, dash=dash, width=1.3, label=trace.name)
        known = np.flatnonzero(np.isfinite(y))
        if known.size and position < MOST_NAMED:
            words = f"{number(float(loss[known[-1]]))} {trace.name}"
            ends.append((float(y[known[-1]]), words, colour))
    panel.label_ends(ends)
    n_ticks = max(3, min(7, int(panel.size_in[0] / 0.45)))
    ticks = linear_ticks(*epochs, n_ticks, integers=True)
    shown = [tick for tick in ticks if traces[0].epochs[0] <= tick[0] <= epochs[1]]
    panel.frame(shown, axis.ticks)
