"""The live table: drawn again only when something that it shows has changed."""

from __future__ import annotations

import math
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence

from rich.live import Live

from diagnostics.contract.errors import BlobwatchError
from monitord.fleet import Fleet
from monitord.reading.runs import Run
from monitord.terminal.columns import clock
from monitord.terminal.filter_line import FilterLine
from monitord.terminal.keyboard import HELP, MEANING, Keyboard
from monitord.terminal.listing import Selection
from monitord.terminal.rows import Row, with_clocks
from monitord.terminal.table import (
    HEIGHT_BUT_ROWS,
    MAX_NOTES,
    make_console,
    make_screen,
    page_of,
    reasons,
)

LEAST_PAUSE_S, REST = 0.25, 10.0
"""Least seconds between two drawings, and their least number of times what one cost."""
ANNOUNCED_S = 60.0
LEAST_ROWS = 3
"""Notes leave room for so many."""
HEIGHT_FOR_ADDRESS = 24
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
        address: Sequence[str] = (),
    ) -> None:
        """Take the terminal.

        Args:
            title: What is watched.
            selection: Which runs, in which order.
            stop: Called when the user quits.
            wake: Called when a key was typed.
            notes: Returns the warnings for the foot.
            address: Lines for the foot of where the page is.
        """
        self._title, self._selection = title, selection
        self._stop, self._notes, self._address = stop, notes, list(address)
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
        self._known: tuple[int, str, str] | None = None
        self._n_all = 0
        self._pairs: list[tuple[Run, Row]] = []
        self._rows: list[Row] = []
        self._reasons: list[str] = []
        self._reasons_for: object = None
        self._cost_s = 0.0
        self._line = FilterLine()
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
        """Draw if something changed: at most four times a second, and at a tenth of a core."""
        started = time.perf_counter()
        typed = self._obey(self._keyboard.take(), fleet)
        self.due_at = math.inf
        pause_s = max(LEAST_PAUSE_S, REST * self._cost_s)
        if not typed and now_s - self._drawn_at < pause_s:
            self.due_at = self._drawn_at + pause_s
            return
        is_anew = self._choose(fleet, now_s, even_if_dear=not typed)
        width, height = self._console.size
        notes = self._foot(width, height, now_s)
        page = page_of(len(self._pairs), height, len(notes), self._page)
        pairs = self._pairs[page.start : page.end]
        visible = [with_clocks(row, run, now_s) for run, row in pairs]
        keys = self._keys()
        seen = (self._known, width, height, page, notes, keys, list(map(_visible, visible)))
        if seen == self._shown:
            return
        self._shown, self._drawn_at = seen, now_s
        self._page, self._n_pages = page.number, page.n_pages
        screen = make_screen(
            self._title, self._rows, visible, n_all=self._n_all, width=width, page=page,
            columns=self._selection.columns(pairs), notes=notes, keys=keys,
        )  # fmt: skip
        self._live.update(screen, refresh=True)
        self.n_drawn += 1
        if is_anew:
            self._cost_s = time.perf_counter() - started

    def _choose(self, fleet: Fleet, now_s: float, *, even_if_dear: bool) -> bool:
        """Choose and order the rows anew if they may be others; return whether that was so.

        Not for every key: turning a page of thousands of runs must be at once.
        """
        known = (fleet.version, self._selection.text, self._selection.order)
        is_asked_anew = self._known is None or self._known[1:] != known[1:]
        if not is_asked_anew and not (even_if_dear and known != self._known):
            return False
        self._known = known
        everything, self._pairs = self._selection.rows(fleet, now_s)
        self._n_all, self._rows = len(everything), [row for _, row in self._pairs]
        return True

    def _foot(self, width: int, height: int, now_s: float) -> list[str]:
        """Return the notes: troubles, alerts of the last minute, runs in trouble, the address."""
        if self._reasons_for != (self._known, width, height):
            self._reasons_for = (self._known, width, height)
            columns = self._selection.columns(self._pairs[:1])
            self._reasons = reasons(self._rows, width, columns=columns, n_most=height)
        said = [self._line.complaint] if self._line.complaint else []
        said += self._notes()
        said += [text for at, text in self._announced if now_s - at < ANNOUNCED_S]
        n_free = height - HEIGHT_BUT_ROWS - len(self._rows)
        notes = [*said, *self._reasons][: max(MAX_NOTES, n_free)]
        if height >= HEIGHT_FOR_ADDRESS:
            notes += self._address
        return notes[: max(0, height - HEIGHT_BUT_ROWS - LEAST_ROWS)]

    def close(self) -> None:
        """Give the terminal back."""
        self._live.stop()
        self._keyboard.close()

    def _keys(self) -> str:
        if self._line.text is not None:
            return self._line.shown()
        return f"by {self._selection.order}   {HELP}" if self._has_keys else "Ctrl+C ends"

    def _obey(self, keys: Sequence[str], fleet: Fleet) -> bool:
        for key in keys:
            if self._line.text is None:
                self._command(MEANING.get(key, ""))
            elif self._line.take(key):
                self._apply(fleet)
        return bool(keys)

    def _apply(self, fleet: Fleet) -> None:
        """Filter by what was typed, or say why not."""
        try:
            self._selection.refine(self._line.text or "", fleet.runs)
        except BlobwatchError as error:
            self._line.complaint = str(error)
            return
        self._line.close()
        self._page = 0

    def _command(self, meaning: str) -> None:
        match meaning:
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
            case "reverse":
                self._selection.reverse()
            case "filter":
                self._line.open(self._selection.text)
            case "quit":
                self._stop()


def _visible(row: Row) -> tuple[object, ...]:
    """Return what the eye can see of a row, so that nothing is drawn for nothing."""
    clocks = (clock(row.silent_s), clock(row.left_s))
    return (row.id, row.state, row.reason, row.epoch, row.loss_last, row.n_blobs, *clocks)
