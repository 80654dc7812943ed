"""The picture beside the report, drawn by matplotlib's object interface.

Nothing global is touched: no pyplot, no backend choice, no rcParams.
"""

from __future__ import annotations

import io
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from diagnostics.contract.atomic import write_atomic
from profiler.analysis import Analysis
from profiler.panels import PANELS
from profiler.recommendation import Recommendation
from profiler.record import Record
from trainer.config import ExperimentConfig


def draw(
    path: Path,
    record: Record,
    analysis: Analysis,
    advice: Recommendation,
    config: ExperimentConfig,
) -> list[Path]:
    """Write ``path`` as PNG and, beside it, as SVG; return both."""
    figure = Figure(figsize=(14, 8), layout="constrained")
    FigureCanvasAgg(figure)
    title = f"Batch size profile: d={config.data.d}, hidden={config.model.hidden_size}"
    chosen = f", optimal batch size {advice.chosen.batch_size:,}" if advice.chosen else ""
    figure.suptitle(title + chosen, fontsize=13, fontweight="bold")
    for panel, axes in zip(PANELS, figure.subplots(2, 3).flat, strict=True):
        panel(axes, record, analysis, advice, config)
        axes.grid(True, color="#e3e6ea", linewidth=0.7)
        axes.set_axisbelow(True)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    written = []
    for kind in ("png", "svg"):
        buffer = io.BytesIO()
        metadata = {"Date": None} if kind == "svg" else None
        figure.savefig(buffer, format=kind, dpi=110, metadata=metadata)
        target = path.with_suffix(f".{kind}")
        write_atomic(target, buffer.getvalue(), sync=False)
        written.append(target)
    return written
