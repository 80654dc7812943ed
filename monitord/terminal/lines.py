"""Plain lines for an output that is no terminal: one for each epoch, state and alert that lands."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from typing import TextIO

from monitord.durations import in_words
from monitord.fleet import Fleet
from monitord.reading.runs import Run
from monitord.states import ENDED, State
from monitord.terminal.figures import number
from monitord.terminal.lettering import plain_name, plain_text
from monitord.terminal.listing import Selection
from monitord.terminal.rows import Row

_CALM = frozenset({State.RUNNING, State.WAITING})


class Lines:
    """Prints what changes, as lines that grep and a log file like."""

    def __init__(self, selection: Selection, stream: TextIO | None = None) -> None:
        """Print the runs of ``selection`` to ``stream``, standard output by default."""
        self._selection = selection
        self._stream = stream or sys.stdout
        self._printed: dict[str, tuple[State, int, int]] = {}
        self.due_at = math.inf

    def announce(self, sentence: str, bell: bool) -> None:
        """Print an alert."""
        self._print(f"ALERT {sentence}")

    def follow(self, fleet: Fleet, changed: Sequence[Run], now_s: float) -> None:
        """Print a line for every selected run whose epoch, state or restarts changed."""
        first = not self._printed and bool(fleet.runs)
        if not changed and not first:
            return
        if first:
            pairs = self._selection.rows(fleet, now_s)[1]
        else:  # with a hundred runs writing, all rows each time would be too much
            pairs = self._selection.pick(changed, now_s)
        for run, row in pairs:
            key = (row.state, row.epoch, row.n_restarts)
            if self._printed.get(run.id) != key:
                self._printed[run.id] = key
                self._print(line_of(row))

    def close(self) -> None:
        """Leave nothing unprinted."""
        self._stream.flush()

    def _print(self, text: str) -> None:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self._stream.write(f"{stamp} {text}\n")
        self._stream.flush()


def line_of(row: Row) -> str:
    """Return a row as one line of ``name state key=value ...``."""
    of = f"/{row.n_planned}" if row.n_planned else ""
    parts = [plain_name(row.name), row.state.value, f"epoch={row.epoch}{of}"]
    if row.epoch:
        parts += [f"loss={number(row.loss_last)}", f"best={number(row.loss_best)}"]
    if row.n_blobs is not None:
        parts.append(f"blobs={row.n_blobs}")
    if row.separation is not None:
        parts.append(f"separation={number(row.separation, 3)}")
    if row.left_s is not None and row.state not in ENDED:
        parts.append(f"left={in_words(row.left_s)}")
    if row.n_restarts:
        parts.append(f"restarts={row.n_restarts}")
    if row.state not in _CALM:
        parts.append(f"({plain_text(row.reason)})")
    return " ".join(parts)
