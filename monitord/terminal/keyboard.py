"""Keys typed at the live table, read by a thread that only collects them."""

from __future__ import annotations

import contextlib
import os
import re
import select
import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

_KEY = re.compile(r"\x1b(?:\[[0-9;]*[~A-Za-z]|O[A-Z])|.", re.DOTALL)
MEANING = {
    "\x1b[5~": "previous",
    "\x1b[6~": "next",
    **{f"\x1b{c}{key}": "previous" for c in "[O" for key in "AD"},
    **{f"\x1b{c}{key}": "next" for c in "[O" for key in "BC"},
    **dict.fromkeys(("\x1b[H", "\x1bOH", "\x1b[1~", "\x1b[7~"), "first"),
    **dict.fromkeys(("\x1b[F", "\x1bOF", "\x1b[4~", "\x1b[8~"), "last"),
    " ": "next",
    "n": "next",
    "j": "next",
    "b": "previous",
    "p": "previous",
    "k": "previous",
    "g": "first",
    "G": "last",
    "s": "sort",
    "r": "reverse",
    "/": "filter",
    "q": "quit",
}
"""What a key means; terminals differ in what they send for some."""
HELP = "space/b page   / filter   s sort   r reverse   q quit"


class Keyboard:
    """Single keys from the terminal, without waiting for a line end."""

    def __init__(self, wake: Callable[[], None]) -> None:
        """Take the function that wakes the loop; the terminal is left alone until `open`."""
        self._wake = wake
        self._keys: deque[str] = deque(maxlen=64)
        self._before: list[Any] | None = None
        self._stop_read, self._stop_write = -1, -1
        self._thread: threading.Thread | None = None

    def open(self) -> bool:
        """Begin if standard input is a terminal and this process is in its foreground."""
        try:
            import termios
            import tty

            descriptor = sys.stdin.fileno()
            if not os.isatty(descriptor) or os.tcgetpgrp(descriptor) != os.getpgrp():
                return False
            self._before = termios.tcgetattr(descriptor)
            tty.setcbreak(descriptor, termios.TCSANOW)
        except (ImportError, OSError, ValueError):
            return False
        self._stop_read, self._stop_write = os.pipe()
        self._thread = threading.Thread(
            target=self._read, args=(descriptor,), name="keyboard", daemon=True
        )
        self._thread.start()
        return True

    def take(self) -> list[str]:
        """Return and forget the keys typed: characters, and sequences such as ``ESC [ A``."""
        keys = []
        with contextlib.suppress(IndexError):
            while True:
                keys.append(self._keys.popleft())
        return keys

    def close(self) -> None:
        """Give the terminal back as it was."""
        if self._thread is None:
            return
        os.write(self._stop_write, b"!")
        self._thread.join(0.5)
        self._thread = None
        import termios

        with contextlib.suppress(termios.error, OSError, ValueError):
            termios.tcsetattr(sys.stdin.fileno(), termios.TCSANOW, self._before or [])
        for descriptor in (self._stop_read, self._stop_write):
            os.close(descriptor)

    def _read(self, descriptor: int) -> None:
        while True:
            ready, _, _ = select.select([descriptor, self._stop_read], [], [])
            if self._stop_read in ready:
                return
            try:
                typed = os.read(descriptor, 64).decode("utf-8", "replace")
            except OSError:
                return
            if not typed:
                return
            self._keys.extend(_KEY.findall(typed))
            self._wake()
