"""What the page knows of the runs: taken from the monitor's thread, read by the server's.

The monitor changes its runs in place. After each of its steps this follower takes, of each run
that changed, what cannot change any more: the row, and the series with the stamps of its epochs.
"""

from __future__ import annotations

import math
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from monitord.alerting.alerts import Alert
from monitord.fleet import Fleet
from monitord.page.answers import AlertTold, RunRow
from monitord.page.replies import encode
from monitord.reading.runs import Run
from monitord.series import RunSeries
from monitord.terminal.lettering import plain_name, plain_text
from monitord.terminal.rows import Row, decimate, make_row

MAX_ALERTS = 200
MAX_GONE = 10_000
SPARK_STEPS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A run as it was at one step of the monitor.

    Attributes:
        run: The run; of it only what is replaced as a whole may be read.
        row: Its row.
        encoded: The row's JSON.
        series: Its numbers.
        stamps: Which change wrote each epoch last (see `Columns.stamps`); int64, (n_epochs,).
        n_puts: The latest of those.
        generation: Another number whenever epochs were taken away.
        version: `Run.version` at that step.
        sequence: The board's number of this change.
    """

    run: Run
    row: RunRow
    plain: Row
    encoded: bytes
    series: RunSeries
    stamps: NDArray[np.int64]
    n_puts: int
    generation: int
    version: int
    sequence: int


@dataclass(frozen=True, slots=True)
class Board:
    """The runs at one moment; never changed, always replaced.

    Attributes:
        entries: By opaque name, in the order of the monitor.
        sequence: Number of the latest change.
        gone: Opaque names of runs that are no more, with the number of that change.
        forgotten: Up to this change, runs that are gone may no longer be in ``gone``.
        alerts: The latest alerts with the number of their change, oldest first.
        trouble: Why some folders are found by the sweep alone, or None.
    """

    entries: dict[str, Entry] = field(default_factory=dict)
    sequence: int = 0
    gone: tuple[tuple[str, int], ...] = ()
    forgotten: int = 0
    alerts: tuple[tuple[AlertTold, int], ...] = ()
    trouble: str | None = None

    def changed_since(self, sequence: int) -> list[Entry]:
        """Return the entries that changed after the change ``sequence``, in that order."""
        found = [entry for entry in self.entries.values() if entry.sequence > sequence]
        return sorted(found, key=lambda entry: entry.sequence)


class BoardKeeper:
    """Keeps the board up to date; a follower of the daemon.

    Attributes:
        board: The present board; readers take it once and use that.
        boot: A random name of this server, so that cursors of an earlier one are told apart.
    """

    def __init__(self, trouble: Callable[[], str | None] = lambda: None) -> None:
        """Begin without runs; ``trouble`` says what is wrong with the watching."""
        self.board = Board()
        self.boot = secrets.token_hex(4)
        self.due_at = math.inf
        self._trouble = trouble
        self._version = -1
        self._told: deque[Alert] = deque(maxlen=MAX_ALERTS)
        self._listeners: list[Callable[[], None]] = []

    def listen(self, listener: Callable[[], None]) -> None:
        """Have ``listener`` called, in the monitor's thread, after each change."""
        self._listeners.append(listener)

    def hear(self, alert: Alert) -> None:
        """Take an alert; it is shown with the next step."""
        self._told.append(alert)

    def follow(self, fleet: Fleet, changed: Sequence[Run], now_s: float) -> None:
        """Take over what changed since the last step."""
        trouble = self._trouble()
        if fleet.version == self._version and not self._told and trouble == self.board.trouble:
            return
        self._version = fleet.version
        self.board = self._next_board(fleet.runs, now_s, trouble)
        for listener in self._listeners:
            listener()

    def close(self) -> None:
        """Nothing to end."""

    def _next_board(self, runs: Sequence[Run], now_s: float, trouble: str | None) -> Board:
        old = self.board
        sequence = old.sequence
        entries: dict[str, Entry] = {}
        for run in runs:
            entry = old.entries.get(run.id)
            if entry is None or entry.version != run.version or entry.plain.name != run.name:
                sequence += 1
                entry = _take(run, now_s, sequence, self.boot)
            entries[run.id] = entry
        gone = [pair for pair in old.gone if pair[0] not in entries]
        for run_id in old.entries.keys() - entries.keys():
            sequence += 1
            gone.append((run_id, sequence))
        n_over = max(0, len(gone) - MAX_GONE)
        forgotten = gone[n_over - 1][1] if n_over else old.forgotten
        alerts = list(old.alerts)
        while self._told:
            sequence += 1
            alerts.append((_told(self._told.popleft(), entries.values()), sequence))
        return Board(
            entries,
            max(sequence, old.sequence + 1),
            tuple(gone[n_over:]),
            forgotten,
            tuple(alerts[-MAX_ALERTS:]),
            trouble,
        )


def _take(run: Run, now_s: float, sequence: int, boot: str) -> Entry:
    row = make_row(run, now_s)
    columns = run.columns
    shown = _row_of(run, row, boot)
    return Entry(
        run=run,
        row=shown,
        plain=row,
        encoded=encode(shown),
        series=run.series(),
        stamps=columns.stamps,
        n_puts=columns.n_puts,
        generation=columns.generation,
        version=run.version,
        sequence=sequence,
    )


def _row_of(run: Run, row: Row, boot: str) -> RunRow:
    loss = run.loss()
    steps = spark_steps(decimate(loss[1], SPARK_STEPS).tolist()) if loss else []
    same = {name: getattr(row, name) for name in RunRow.__struct_fields__ if hasattr(row, name)}
    return RunRow(
        **same
        | {
            "name": plain_name(row.name),
            "state": row.state.value,
            "reason": plain_text(row.reason, 400),
            "at": time.time(),
            "data": f"{boot}.{run.columns.generation}.{run.columns.n_puts}",
            "spark": steps,
        }
    )


def _told(alert: Alert, entries: Iterable[Entry]) -> AlertTold:
    run_id = next((e.run.id for e in entries if e.plain.folder == alert.folder), "")
    return AlertTold(
        run=run_id,
        name=plain_text(alert.run),
        rule=plain_text(alert.rule),
        state=alert.state,
        reason=plain_text(alert.reason, 400),
        epoch=alert.epoch,
        at=alert.at,
    )


def spark_steps(values: Sequence[float]) -> list[int | None]:
    """Return values as steps from 0 (least) to 99, on a logarithmic scale where all are above 0."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return [None for _ in values]
    scale = math.log if min(finite) > 0 else float
    low, high = scale(min(finite)), scale(max(finite))
    span = high - low
    if not 0 < span < math.inf:
        return [50 if math.isfinite(value) else None for value in values]
    return [
        round(99 * (scale(value) - low) / span) if math.isfinite(value) else None
        for value in values
    ]
