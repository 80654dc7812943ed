"""`TrainingMonitor`: one run, from Python and in notebooks, as in the guide."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from diagnostics.contract.errors import UnknownNameError, nearest
from monitord.finding.roots import NoSuchRunError, Root, near_matches, parse_root
from monitord.fleet import Fleet
from monitord.reading.runs import Run
from monitord.series import Floats, RunSeries
from monitord.states import ENDED, State
from monitord.terminal.lettering import plain_text
from monitord.terminal.rows import make_row

if TYPE_CHECKING:
    from monitord.draw.request import DrawOptions

logger = logging.getLogger(__name__)

PICTURE = "training_metrics.png"
_POLL_S = 0.5


class TrainingMonitor:
    """Watches one run. A pattern, or a folder of runs, stands for the run with the latest news.

    Args:
        path_or_pattern: The run's folder, its ``results.json``, a pattern such as
            ``experiments/reference_3blob_*``, or a folder of runs; relative to the working
            directory.

    Raises:
        FileNotFoundError: There is no such folder; the message names near matches.
    """

    def __init__(self, path_or_pattern: str | Path) -> None:
        """Find the run and read it."""
        self._root: Root = parse_root(path_or_pattern)
        if self._root.pattern is not None and not self._root.folders():
            near = near_matches(Path(self._root.pattern))
            hint = f"; near matches: {', '.join(near)}" if near else ""
            raise NoSuchRunError(f"{path_or_pattern}: no such experiment or folder{hint}")
        self._fleet = Fleet([self._root], grace_s=0.0)
        self._chosen: Run | None = None
        self.refresh()

    def refresh(self) -> bool:
        """Read what changed; return whether there are new numbers."""
        before = (self._chosen, self._chosen.data_version if self._chosen else -1)
        self._fleet.sweep()
        self._fleet.judge()
        runs = self._fleet.runs
        if self._chosen not in runs:
            self._chosen = max(runs, key=lambda run: run.last_news_s, default=None)
        run = self._chosen
        return run is not None and (run, run.data_version) != before

    @property
    def folder(self) -> Path:
        """The run's folder; the given one while there is no run in it yet."""
        return self._chosen.folder if self._chosen is not None else self._root.base

    @property
    def state(self) -> State:
        """The run's state at the last `refresh`; waiting while there is no run yet."""
        return self._chosen.verdict.state if self._chosen is not None else State.WAITING

    @property
    def reason(self) -> str:
        """Why it is in that state."""
        return self._chosen.verdict.reason if self._chosen is not None else "no results.json yet"

    @property
    def names(self) -> list[str]:
        """Dotted names of all series that the run has."""
        return self.run_series().names()

    @property
    def epochs(self) -> Floats:
        """Epoch numbers; float64 of shape (n_epochs,)."""
        return self.run_series().epochs

    def series(self, name: str) -> Floats:
        """Return one series, such as ``test.scaled_loss``.

        Returns:
            float64 of shape (n_epochs,), of a trace of stage two the number of its own epochs; NaN
            where an epoch has no value.

        Raises:
            UnknownNameError: The run has none of that name; the message names the nearest.
        """
        part, own = self.run_series().part_with(name)
        values = part.values.get(own)
        if values is None:
            raise UnknownNameError(f"{self.folder}: no series {name!r}{nearest(name, self.names)}")
        return values.copy()

    def run_series(self) -> RunSeries:
        """Return every series of the run."""
        if self._chosen is None:
            import numpy as np

            return RunSeries(name=self._root.base.name, epochs=np.empty(0), values={})
        return self._chosen.series()

    def generate_static_plot(
        self,
        path: str | Path | None = None,
        *,
        log_y: bool = False,
        smooth: float = 0.0,
        metrics: Sequence[str] = (),
    ) -> Path:
        """Draw the four panels, or ``metrics``, and return the file.

        Args:
            path: Where to, by extension PNG, SVG or PDF; None: ``training_metrics.png`` in the
                run's folder.
            log_y: Logarithmic losses and metrics.
            smooth: Weight of the past in the moving average, in [0, 1).
            metrics: Names of series, one panel each.
        """
        from monitord.static import write_static

        self.refresh()
        output = Path(path) if path is not None else self.folder / PICTURE
        runs = [self.run_series()]
        return write_static(runs, output, log_y=log_y, smooth=smooth, metrics=metrics)

    def start_live_plot(
        self,
        refresh_interval: float = 5,
        max_wait: float = 300,
        *,
        options: DrawOptions | None = None,
    ) -> None:
        """Show the run in a window that is updated in place, until the run ends.

        Without a display, ``training_metrics.png`` in the run's folder is kept up to date instead,
        and one line says so. Ctrl+C ends it.

        Args:
            refresh_interval: Seconds between two updates.
            max_wait: Seconds to wait for the first epoch.
            options: How to draw; None for the four panels.

        Raises:
            ValueError: ``refresh_interval`` is not above zero, or ``max_wait`` is negative.
            TimeoutError: There was no epoch within ``max_wait``.
        """
        if not refresh_interval > 0:
            raise ValueError(f"refresh_interval: {refresh_interval!r} is not above zero")
        if not max_wait >= 0:
            raise ValueError(f"max_wait: {max_wait!r} is negative")
        try:
            self._wait_for_epoch(max_wait)
            self._show(refresh_interval, options)
        except KeyboardInterrupt:
            logger.info("stopped by Ctrl+C")

    def _wait_for_epoch(self, max_wait_s: float) -> None:
        deadline = time.monotonic() + max_wait_s
        while not self.epochs.size and self.state not in ENDED:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise TimeoutError(f"{self.folder}: no epoch within {max_wait_s:g} s")
            time.sleep(min(_POLL_S, left_s))
            self.refresh()

    def _show(self, refresh_interval_s: float, options: DrawOptions | None) -> None:
        from monitord.window import LiveWindow, NoDisplayError

        ended = False

        def read() -> Sequence[RunSeries] | None:
            nonlocal ended
            if ended:
                return None
            self.refresh()
            ended = self._is_over()  # once more after the end: the last epoch must be seen
            return [self.run_series()]

        try:
            window = LiveWindow(plain_text(self.run_series().name), options=options)
        except NoDisplayError as error:
            self._keep_picture(refresh_interval_s, str(error), options)
            return
        window.run(read, refresh_interval_s=refresh_interval_s)

    def _is_over(self) -> bool:
        run = self._chosen
        return run is not None and (run.verdict.state in ENDED or run.standing.is_over)

    def _keep_picture(
        self, refresh_interval_s: float, why: str, options: DrawOptions | None
    ) -> None:
        from monitord.draw.request import DrawOptions
        from monitord.static import write_static

        chosen = options or DrawOptions()
        output = self.folder / PICTURE
        print(f"{why}; keeping {output} up to date instead")  # noqa: T201 - the guide's one line
        drawn = -1
        while True:
            self.refresh()
            over = self._is_over()
            version = self._chosen.data_version if self._chosen else -1
            if version != drawn:
                drawn = version
                write_static(
                    [self.run_series()], output, log_y=chosen.log_y, smooth=chosen.smooth,
                    metrics=chosen.metrics,
                )  # fmt: skip
            if over:
                return
            time.sleep(refresh_interval_s)

    def __repr__(self) -> str:
        return f"TrainingMonitor({str(self.folder)!r}, {self.state.value}: {self.reason})"

    def _repr_html_(self) -> str:
        """Return the run as a small table, for notebooks; every text from files is escaped."""
        name = plain_text(self.run_series().name)
        cells = [("state", self.state.value), ("why", plain_text(self.reason))]
        if self._chosen is not None:
            row = make_row(self._chosen, time.monotonic())
            of = f" of {row.n_planned}" if row.n_planned else ""
            cells += [
                ("epoch", f"{row.epoch}{of}"),
                (row.loss_name or "loss", _shown(row.loss_last)),
                ("best", f"{_shown(row.loss_best)} at epoch {row.loss_best_epoch or '-'}"),
                ("blobs", "-" if row.n_blobs is None else str(row.n_blobs)),
                ("separation", _shown(row.separation)),
                ("silhouette", _shown(row.silhouette)),
                ("correlation", _shown(row.correlation)),
            ]
        lines = "".join(
            f"<tr><th style='text-align:left'>{escape(label)}</th><td>{escape(text)}</td></tr>"
            for label, text in cells
        )
        return f"<table><caption><b>{escape(name)}</b></caption>{lines}</table>"


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
