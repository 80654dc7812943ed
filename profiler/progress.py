"""Progress on the terminal: a bar with time left, or plain lines where there is none."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


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
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.percentage:3.0f}%"),
            TimeRemainingColumn(),
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
