"""Progress on the terminal: a bar with time left, or plain lines where there is none."""

from __future__ import annotations

from typing import Protocol

from rich import progress as rich_progress
from rich.console import Console

WINDOWS_UNITS = 5
"""The windows count as so many epochs."""


class Progress(Protocol):
    """Shown while a profile is made."""

    def advance(self, done: float, total: float, text: str) -> None:
        """``done`` of ``total`` units of work are done; ``text`` says what comes now."""
        ...


class Work:
    """Counts what is done of a profile; an epoch is one unit, so is the start of a process."""

    def __init__(self, progress: Progress, n_trials: int, n_epochs: int, n_probes: int = 0) -> None:
        """Plan ``n_trials`` of ``n_epochs`` each, then windows, then at most ``n_probes``."""
        self._progress = progress
        self._n_epochs = n_epochs
        self._windows_begin = n_trials * (1 + n_epochs)
        self._probes_begin = self._windows_begin + WINDOWS_UNITS
        self._total = self._probes_begin + n_probes
        self._n_probes = 0
        self._done, self._text = 0.0, ""
        self._trial_begin = 0

    def trial_begins(self, index: int, text: str) -> None:
        """Trial ``index`` (from 0) begins."""
        self._trial_begin = index * (1 + self._n_epochs)
        self._show(self._trial_begin, text)

    def epoch_ended(self) -> None:
        """One epoch more of the trial; with a target loss there may be more than planned."""
        self._show(min(self._done + 1, self._trial_begin + self._n_epochs), self._text)

    def windows(self, share: float, text: str) -> None:
        """This share of the windows is done."""
        self._show(self._windows_begin + share * WINDOWS_UNITS, text)

    def probe_begins(self, text: str) -> None:
        """One probe more of the largest size begins."""
        self._show(self._probes_begin + self._n_probes, text)
        self._n_probes += 1

    def ends(self) -> None:
        """Everything is done."""
        self._show(self._total, "done")

    def _show(self, done: float, text: str) -> None:
        self._done, self._text = done, text
        self._progress.advance(done, self._total, text)


class NoProgress:
    """Shows nothing."""

    def advance(self, done: float, total: float, text: str) -> None:
        """Do nothing."""


class ProgressLines:
    """Prints a line whenever something else begins."""

    def __init__(self, console: Console) -> None:
        """Print to ``console``."""
        self._console = console
        self._last = ""

    def advance(self, done: float, total: float, text: str) -> None:
        """Print what comes now; rounds of windows are left out."""
        text = text.partition(", round")[0]
        if text != self._last:
            self._last = text
            self._console.print(f"{done / total:4.0%}  {text}", markup=False, highlight=False)


class ProgressBar:
    """A bar with what is done now and the time left."""

    def __init__(self, console: Console) -> None:
        """Draw on ``console``, a terminal."""
        self._bar = rich_progress.Progress(
            rich_progress.TextColumn("{task.description}"),
            rich_progress.BarColumn(bar_width=None),
            rich_progress.TextColumn("{task.percentage:3.0f}%"),
            rich_progress.TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._task = self._bar.add_task("starting", total=None)

    def __enter__(self) -> ProgressBar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def advance(self, done: float, total: float, text: str) -> None:
        """Move the bar."""
        self._bar.update(self._task, completed=done, total=total, description=text)
