"""The stream of changes: server-sent events, each page with a cursor of its own.

Nothing is kept per page but the cursor: whoever is slow or was away gets the latest state of what
changed meanwhile, once. Runs' numbers do not travel here; a row says that there are new ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator

import msgspec

from monitord.page.answers import AlertTold
from monitord.page.board import Board, BoardKeeper
from monitord.page.replies import encode

MAX_STREAMS = 48
BEAT_S = 10.0
PAUSE_S = 0.05
"""Between two events of one stream: bursts travel together."""
ROWS_AT_ONCE = 500
_CURSOR = re.compile(r"([0-9a-f]{8})\.(\d{1,15})")


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """An event ``changes``.

    Attributes:
        cursor: Of this event, also its SSE id.
        now: The server's clock, seconds since 1970.
        n_all: Number of all runs.
        rows: Rows that changed.
        gone: Opaque names of runs that are no more.
        alerts: Alerts that were told.
        trouble: Why some folders are found by the sweep alone, or null.
    """

    cursor: str
    now: float
    n_all: int
    rows: list[msgspec.Raw]
    gone: list[str]
    alerts: list[AlertTold]
    trouble: str | None


class Pulse:
    """Wakes all streams of the server's loop; the monitor's thread beats it."""

    def __init__(self) -> None:
        """Begin without a loop; see `attach`."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed: asyncio.Event | None = None
        self.n_streams = 0
        self.closing = False

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Name the server's loop; called in it."""
        self._loop, self._changed = loop, asyncio.Event()

    def beat(self) -> None:
        """Wake all streams; safe from any thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake)

    def close(self) -> None:
        """End all streams; safe from any thread."""
        self.closing = True
        self.beat()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        if changed is not None:
            changed.set()

    async def wait(self, timeout_s: float) -> None:
        """Wait until the next beat, at most ``timeout_s``."""
        assert self._changed is not None
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), timeout_s)


def cursor_of(keeper: BoardKeeper, sequence: int) -> str:
    """Return the cursor of a change."""
    return f"{keeper.boot}.{sequence}"


def start_of(keeper: BoardKeeper, cursor: str | None) -> int | None:
    """Return the change after which a stream goes on; None if the page must start over."""
    match = _CURSOR.fullmatch(cursor or "")
    if match is None or match[1] != keeper.boot:
        return None
    sequence = int(match[2])
    board = keeper.board
    return sequence if board.forgotten <= sequence <= board.sequence else None


async def stream(keeper: BoardKeeper, pulse: Pulse, start: int | None) -> AsyncIterator[bytes]:
    """Yield the events of one page until it leaves or the server ends."""
    pulse.n_streams += 1
    try:
        yield b"retry: 1000\n\n"
        if start is None:
            yield b"event: reset\ndata: {}\n\n"
            return
        sequence = start
        while not pulse.closing:
            board = keeper.board
            if board.sequence > sequence:
                for event in events_since(keeper, board, sequence):
                    yield event
                sequence = board.sequence
                await asyncio.sleep(PAUSE_S)
                continue
            await pulse.wait(BEAT_S)
            if keeper.board.sequence == sequence and not pulse.closing:
                yield b"event: beat\ndata: %.3f\n\n" % time.time()
    finally:
        pulse.n_streams -= 1


def events_since(keeper: BoardKeeper, board: Board, sequence: int) -> list[bytes]:
    """Return the events that bring a page from the change ``sequence`` up to ``board``."""
    entries = board.changed_since(sequence)
    parts = [entries[i : i + ROWS_AT_ONCE] for i in range(0, len(entries), ROWS_AT_ONCE)] or [[]]
    found = []
    for place, part in enumerate(parts):
        last = place == len(parts) - 1
        cursor = cursor_of(keeper, board.sequence if last else part[-1].sequence)
        changes = Changes(
            cursor=cursor,
            now=time.time(),
            n_all=len(board.entries),
            rows=[msgspec.Raw(entry.encoded) for entry in part],
            gone=[run_id for run_id, change in board.gone if change > sequence] if last else [],
            alerts=[told for told, change in board.alerts if change > sequence] if last else [],
            trouble=board.trouble,
        )
        found.append(b"id: %s\nevent: changes\ndata: %s\n\n" % (cursor.encode(), encode(changes)))
    return found
