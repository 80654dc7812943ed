"""The live table: drawn again only when something that it shows has changed."""

from __future__ import annotations

import math
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence

from rich.live import Live

from monitord.fleet import Fleet
from monitord.reading.runs import Run
from monitord.terminal.columns import clock
from monitord.terminal.keyboard import HELP, Keyboard
from monitord.terminal.listing import Selection
from monitord.terminal.rows import Row, with_clocks
from monitord.terminal.table import MAX_NOTES, make_console, make_screen, page_of, reasons

LEAST_PAUSE_S = 0.25
ORDERS = ("state", "name", "best", "loss", "-epoch", "silent")


class Screen:
    """Shows the runs on the terminal's second screen until closed."""

    def __init__(
        self,
        title: str,
        selection: Selection,
        *,
        stop: Callable[[], None],
        wake: Callable[[], None],
        notes: Callable[[], list[str]],
    ) -> None:
        """Take the terminal.

        Args:
            title: What is watched.
            selection: Which runs, in which order.
            stop: Called when the user quits.
            wake: Called when a key was typed.
            notes: Returns the warnings for the foot.
        """
        self._title, self._selection = title, selection
        self._stop, self._notes = stop, notes
        self._console = make_console()
        self._keyboard = Keyboard(wake)
        self._has_keys = self._keyboard.open()
        self._live = Live(
            console=self._console, screen=True, auto_refresh=False, redirect_stderr=False,
            redirect_stdout=False, vertical_overflow="crop",
        )  # fmt: skip
        self._live.start()
        self._page = 0
        self._n_pages = 1
        self._shown: object = None
        self._version = -1
        self._rows: list[Row] = []
        self._pairs: list[tuple[Run, Row]] = []
        self._drawn_at = -math.inf
        self.due_at = math.inf
        self._announced: deque[tuple[float, str]] = deque(maxlen=3)
        self.n_drawn = 0

    def announce(self, sentence: str, bell: bool) -> None:
        """Show an alert at the foot for a while."""
        self._announced.append((time.monotonic(), f"{time.strftime('%H:%M')} {sentence}"))
        if bell:
            sys.stdout.write("\a")
            sys.stdout.flush()

    def follow(self, fleet: Fleet, changed: Sequence[Run], now_s: float) -> None:
        """Draw if something changed, at most four times a second."""
        typed = self._obey(self._keyboard.take())
        self.due_at = math.inf
        if not typed and now_s - self._drawn_at < LEAST_PAUSE_S:
            self.due_at = self._drawn_at + LEAST_PAUSE_S
            return
        if typed or fleet.version != self._version:
            self._version = fleet.version
            self._rows, self._pairs = self._selection.rows(fleet, now_s)
        width, height = self._console.size
        said = [*self._notes(), *(text for _, text in self._announced)]
        shown = [row for _, row in self._pairs]
        notes = said[-MAX_NOTES:] or reasons(shown, width, height)
        page = page_of(len(self._pairs), height, len(notes), self._page)
        visible = [with_clocks(row, run, now_s) for run, row in self._pairs[page.start : page.end]]
        seen = (self._version, width, height, page, notes, list(map(_visible, visible)))
        if seen == self._shown:
            return
        self._shown, self._drawn_at = seen, now_s
        self._page, self._n_pages = page.number, page.n_pages
        screen = make_screen(
            self._title, self._rows, visible, width=width, page=page, notes=notes,
            keys=self._keys(),
        )  # fmt: skip
        self._live.update(screen, refresh=True)
        self.n_drawn += 1

    def close(self) -> None:
        """Give the terminal back."""
        self._live.stop()
        self._keyboard.close()

    def _keys(self) -> str:
        return f"by {self._selection.order}   {HELP}" if self._has_keys else "Ctrl+C ends"

    def _obey(self, keys: Sequence[str]) -> bool:
        for key in keys:
            match key:
                case "next":
                    self._page = min(self._page + 1, self._n_pages - 1)
                case "previous":
                    self._page = max(self._page - 1, 0)
                case "first":
                    self._page = 0
                case "last":
                    self._page = self._n_pages - 1
                case "sort":
                    now = self._selection.order
                    place = ORDERS.index(now) if now in ORDERS else -1
                    self._selection.order = ORDERS[(place + 1) % len(ORDERS)]
                case "quit":
                    self._stop()
            self._shown = None
        return bool(keys)


def _visible(row: Row) -> tuple[object, ...]:
    """Return what the eye can see of a row, so that nothing is drawn for nothing."""
    clocks = (clock(row.silent_s), clock(row.left_s))
    return (row.id, row.state, row.reason, row.epoch, row.loss_last, row.n_blobs, *clocks)
