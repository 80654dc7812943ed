"""The live window: the pictures of `monitord.draw` on a display, updated in place.

Tk comes with most Pythons. Where it or a display is missing, `NoDisplayError` says so in one line,
and the caller keeps the PNG up to date instead.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

from monitord.series import RunSeries

if TYPE_CHECKING:
    from monitord.draw.request import DrawOptions

# Short enough that closing, resizing and Ctrl+C feel immediate; 25 wakings a second cost nothing.
EVENT_INTERVAL_S = 0.04
SMALLEST_PIXELS = (520, 340)


class NoDisplayError(RuntimeError):
    """There is no display to open a window on, or no Tk to open it with; the message says which."""


class LiveWindow:
    """A window that shows runs and is updated in place, without ever asking for the focus.

    Args:
        title: The window's title.
        options: How to draw; None for the four panels.

    Attributes:
        closed: Whether the user or `close` has closed the window.

    Raises:
        NoDisplayError: There is no display or no Tk.
    """

    def __init__(self, title: str, *, options: DrawOptions | None = None) -> None:
        """Open the window, still empty."""
        tkinter = _tk()
        from matplotlib.backends.backend_tkagg import FigureCanvasTkAgg
        from matplotlib.figure import Figure

        from monitord.draw import style
        from monitord.draw.canvas import own_settings
        from monitord.draw.lettering import printable
        from monitord.draw.request import DrawOptions
        from monitord.draw.sheet import Sheet

        self.closed = False
        self._settings = own_settings
        self._error: BaseException | None = None
        self._runs: Sequence[RunSeries] = ()
        self._options = options or DrawOptions()
        try:
            # The class name lets window managers tell it apart; matplotlib is not involved.
            self._root = tkinter.Tk(className="monitord")
        except tkinter.TclError as error:
            raise NoDisplayError(f"no display: {error}") from None
        self._root.title(printable(title))
        self._root.minsize(*SMALLEST_PIXELS)
        self._root.report_callback_exception = self._keep_error
        self._root.protocol("WM_DELETE_WINDOW", self.close)
        with own_settings():
            figure = Figure(figsize=style.SHEET_SIZE, dpi=100, facecolor=style.PAPER)
        self._canvas = FigureCanvasTkAgg(figure, master=self._root)  # type: ignore[no-untyped-call]
        self._canvas.get_tk_widget().pack(fill="both", expand=True)  # type: ignore[no-untyped-call]
        self._sheet = Sheet(figure)
        self._size: tuple[float, float] | None = None
        self._root.update()

    def __enter__(self) -> LiveWindow:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def show(self, runs: Sequence[RunSeries]) -> None:
        """Draw ``runs`` into the window; its place, size, stacking and focus stay as they are."""
        if self.closed:
            return
        self._runs = runs
        self._size = self._sheet.size_in
        self._sheet.draw(runs, self._options)
        with self._settings():
            self._canvas.draw()  # type: ignore[no-untyped-call]

    def pump(self, seconds: float) -> None:
        """Serve the window's events for ``seconds`` or until it is closed.

        Raises:
            KeyboardInterrupt: Ctrl+C was pressed, also in the middle of an event.
        """
        until = time.monotonic() + seconds
        while not self.closed:
            self._root.update()
            if self._error is not None:
                error, self._error = self._error, None
                raise error
            if not self.closed and self._size not in (None, self._sheet.size_in):
                self.show(self._runs)  # the margins are fixed in inches, so places change
            left = until - time.monotonic()
            if left <= 0:
                break
            time.sleep(min(left, EVENT_INTERVAL_S))

    def run(
        self,
        read: Callable[[], Sequence[RunSeries] | None],
        *,
        refresh_interval_s: float = 5.0,
    ) -> None:
        """Show what ``read`` returns, every ``refresh_interval_s``, until it returns None.

        Ends as well when the window is closed. On Ctrl+C the window is closed, and
        KeyboardInterrupt goes on to the caller.
        """
        with self._interruptible():
            try:
                while not self.closed and (runs := read()) is not None:
                    self.show(runs)
                    self.pump(refresh_interval_s)
            finally:
                self.close()

    @contextlib.contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Let Ctrl+C wait for `pump`: raised inside a destructor, Python would drop it."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def keep(number: int, frame: FrameType | None) -> None:
            if isinstance(self._error, KeyboardInterrupt):
                raise KeyboardInterrupt  # a second Ctrl+C does not wait
            self._error = KeyboardInterrupt()

        previous = signal.signal(signal.SIGINT, keep)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, previous)

    def close(self) -> None:
        """Close the window; further calls do nothing."""
        if not self.closed:
            self.closed = True
            self._root.destroy()

    def _keep_error(self, kind: object, error: BaseException, trace: object) -> None:
        """Keep what a callback raised for `pump`; Tk would print it and swallow Ctrl+C."""
        self._error = error


def _tk() -> Any:
    """Return the tkinter module, or raise `NoDisplayError` if no window can be opened."""
    # Asked first: it is by far the more common reason, and costs nothing.
    if sys.platform.startswith("linux") and not os.environ.get("DISPLAY"):
        raise NoDisplayError("no display: DISPLAY is not set")
    try:
        import tkinter
    except ImportError:
        raise NoDisplayError(
            "no window: this Python has no tkinter (its package is often called python3-tk)"
        ) from None
    return tkinter
