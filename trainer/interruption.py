"""Signals that end a run in good order: the batch is finished, everything is written."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType


class Interruption:
    """Turns SIGINT, SIGTERM and SIGHUP into a request to stop, inside a ``with`` block.

    A second SIGINT raises `KeyboardInterrupt` at once: the files are valid at any moment.

    Attributes:
        reason: Why training shall end, or None.
        signal_number: The signal that came, or None.
    """

    def __init__(self) -> None:
        """Do nothing yet; the handlers are installed by ``with``."""
        self.reason: str | None = None
        self.signal_number: int | None = None
        self._previous: dict[int, object] = {}

    def __enter__(self) -> Interruption:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.reason is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.reason = f"stopped by {signal.Signals(number).name}"
        self.signal_number = number
