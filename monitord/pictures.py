"""Which pictures are out of date, and where they go; drawing itself is another process's work."""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path

from monitord.draw.renderer import Renderer
from monitord.draw.request import DrawOptions, RenderJob
from monitord.finding.roots import Root
from monitord.fleet import Fleet
from monitord.reading.runs import Run
from monitord.states import ENDED

logger = logging.getLogger(__name__)

RUN_PICTURE = "training_metrics.png"
OVERVIEW = "overview.png"
OVERVIEW_EVERY_S = 5.0
OVERVIEW_REST = 20.0
"""The picture of all runs is made again after this many times what it took: it is no run's own."""
MAX_NAME = 120


class Pictures:
    """Keeps ``training_metrics.png`` of every run and ``overview.png`` of every root current."""

    def __init__(
        self,
        roots: Sequence[Root],
        *,
        plot_dir: Path | None = None,
        options: DrawOptions | None = None,
        every_s: float = 2.0,
    ) -> None:
        """Name the roots; ``every_s``: least seconds between two pictures of one file."""
        self._roots = list(roots)
        self._plot_dir = plot_dir
        self._options = options or DrawOptions()
        self._renderer = Renderer(max_rate_s=every_s)
        self._drawn: dict[str, int] = {}
        self._dirty: set[str] = set()
        self._refused: set[Path] = set()
        self._overview_version: dict[Root, int] = {}
        self._overview_at = -math.inf
        self._overview_s = 0.0
        self._n_data = 0
        self._started = False
        self.due_at = math.inf
        self.n_drawn = 0
        self.trouble: str | None = None

    def follow(self, fleet: Fleet, changed: Sequence[Run], now_s: float) -> None:
        """Ask for the pictures of runs with new numbers; nothing here waits for a picture."""
        candidates = changed
        if not self._started:
            self._started = True
            candidates = _stale(fleet.runs, self)
        for run in candidates:
            if run.columns.n_epochs and self._drawn.get(run.id) != run.data_version:
                self._drawn[run.id] = run.data_version
                self._n_data += 1
                self._submit(self.path_for(run), [run], self._options)
        if self._n_data and now_s >= self._overview_at:
            self._n_data = 0
            self._overview_at = now_s + max(OVERVIEW_EVERY_S, OVERVIEW_REST * self._overview_s)
            self._draw_overviews(fleet)
        self.due_at = self._overview_at if self._n_data else math.inf
        for report in self._renderer.poll():
            self.n_drawn += report.reason is None
            if report.output.name == OVERVIEW:
                self._overview_s = report.took_s
            if report.reason is not None:
                self.trouble = f"{report.output}: {report.reason}"

    def close(self) -> None:
        """End the render process; it removes its temporary file."""
        self._renderer.close()

    def path_for(self, run: Run) -> Path:
        """Return where the picture of ``run`` goes."""
        if self._plot_dir is not None:
            return self._plot_dir / f"{safe_name(run)}.png"
        return run.folder / RUN_PICTURE

    def _draw_overviews(self, fleet: Fleet) -> None:
        runs = [run for run in fleet.runs if run.columns.n_epochs]
        if self._plot_dir is not None:
            if len(runs) > 1:
                self._overview(self._plot_dir / OVERVIEW, runs)
            return
        for root in self._roots:
            inside = [run for run in runs if root.base in run.folder.parents]
            if inside and root.pattern is None:
                self._overview(root.base / OVERVIEW, inside)

    def _overview(self, path: Path, runs: Sequence[Run]) -> None:
        self._submit(path, runs, DrawOptions(overview=True))

    def _submit(self, path: Path, runs: Sequence[Run], options: DrawOptions) -> None:
        folder = path.parent
        if folder in self._refused:
            return
        if not os.access(folder, os.W_OK):
            self._refused.add(folder)
            self.trouble = f"{folder}: cannot be written; pictures of it need --plot-dir DIR"
            if len(self._refused) == 1:
                logger.warning("%s", self.trouble)
            return
        series = [run.series() for run in runs]
        self._renderer.submit(RenderJob(output=path, runs=series, options=options))


def _stale(runs: Sequence[Run], pictures: Pictures) -> list[Run]:
    """Return the runs whose picture is missing or older than its data, live ones first."""
    stale = []
    for run in runs:
        try:
            drawn_ns = os.stat(pictures.path_for(run)).st_mtime_ns
        except OSError:
            drawn_ns = 0
        newest_ns = 0
        for name in ("results.json", "events.log"):
            try:
                newest_ns = max(newest_ns, os.stat(run.folder / name).st_mtime_ns)
            except OSError:
                continue
        if drawn_ns <= newest_ns:
            stale.append(run)
    return sorted(stale, key=lambda run: (run.verdict.state in ENDED, -run.last_news_s))


def safe_name(run: Run) -> str:
    """Return a file name for a run: its own name where that is harmless, unique in any case."""
    plain = re.sub(r"[^\w.+=@-]", "_", run.name.replace(os.sep, "__")).lstrip(".")
    if plain == run.name and len(plain) <= MAX_NAME:
        return plain
    return f"{plain[:MAX_NAME]}-{run.id[:8]}"
