"""Which pictures are out of date, and where they go; drawing itself is another process's work."""

from __future__ import annotations

import logging
import math
import os
import re
import time
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
RETRY_AFTER_S = 60.0
"""A full disk and a folder that cannot be written may be mended while the monitor runs."""
OVERVIEW_EVERY_S = 5.0
OVERVIEW_REST = 20.0
"""The picture of all runs is made again after this many times what it took: it is no run's own."""
MAX_NAME_BYTES = 120


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
        self._refused: set[Path] = set()
        self._failed: set[Path] = set()
        self._retry_at = math.inf
        self._warned = False
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
            self._n_data = 1  # the overview may be older than the runs' pictures, or gone
            candidates = _stale(fleet.runs, self)
        if now_s >= self._retry_at:
            candidates = [*candidates, *self._forget_failed(fleet.runs)]
        for run in candidates:
            if run.columns.n_epochs and self._drawn.get(run.id) != run.data_version:
                self._drawn[run.id] = run.data_version
                self._n_data += 1
                self._submit(self.path_for(run), [run], self._options)
        if self._n_data and now_s >= self._overview_at:
            self._n_data = 0
            self._overview_at = now_s + max(OVERVIEW_EVERY_S, OVERVIEW_REST * self._overview_s)
            self._draw_overviews(fleet)
        self._take_reports(now_s)
        overview_at = self._overview_at if self._n_data else math.inf
        self.due_at = min(overview_at, self._retry_at)

    def close(self) -> None:
        """End the render process; it removes its temporary file."""
        self._renderer.close()

    def path_for(self, run: Run) -> Path:
        """Return where the picture of ``run`` goes."""
        if self._plot_dir is not None:
            return self._plot_dir / f"{safe_name(run)}.png"
        return run.folder / RUN_PICTURE

    def _take_reports(self, now_s: float) -> None:
        for report in self._renderer.poll():
            if report.output.name == OVERVIEW:
                self._overview_s = report.took_s
            if report.reason is None:
                self.n_drawn += 1
                self._failed.discard(report.output)
                continue
            self._failed.add(report.output)
            self._retry_at = min(self._retry_at, now_s + RETRY_AFTER_S)
            self.trouble = f"{report.output}: {report.reason}"
        if self.trouble is not None and not self._failed and not self._refused:
            self.trouble = None

    def _forget_failed(self, runs: Sequence[Run]) -> list[Run]:
        """Return the runs whose pictures could not be written, to be tried once more."""
        again = [run for run in runs if self._is_failed(self.path_for(run))]
        for run in again:
            self._drawn.pop(run.id, None)
        present = {run.id for run in runs}
        self._drawn = {key: version for key, version in self._drawn.items() if key in present}
        self._n_data += len(self._failed)
        self._failed, self._refused, self._retry_at = set(), set(), math.inf
        return again

    def _is_failed(self, path: Path) -> bool:
        return path in self._failed or path.parent in self._refused

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
            self._retry_at = min(self._retry_at, time.monotonic() + RETRY_AFTER_S)
            self.trouble = f"{folder}: cannot be written; pictures of it need --plot-dir DIR"
            if not self._warned:
                self._warned = True
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
    short = os.fsencode(plain)[:MAX_NAME_BYTES].decode("utf-8", "ignore")
    return short if short == run.name else f"{short}-{run.id[:8]}"
