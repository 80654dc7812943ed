"""Only new points travel: what of a run's series the holder of a cursor does not have yet."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitord.page.answers import SeriesPart
from monitord.page.board import Entry
from monitord.series import Floats
from monitord.terminal.lettering import plain_text

MAX_NUMBERS = 200_000
"""In one answer; about 3 MB. More comes with the next."""
_CURSOR = re.compile(
    r"([0-9a-f]{8})~(\d{1,15})~(\d{1,15})~(\d{1,15})~(-inf|-?\d{1,16}(?:\.\d{1,17})?)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """How far somebody has come in a run's series.

    Attributes:
        boot: The server that said so.
        generation: Of the run's epochs then.
        had: All changes up to this one were sent.
        until: Of the changes after those and up to this one, the epochs up to ``epoch`` were sent.
        epoch: See ``until``; minus infinity if that was all.
    """

    boot: str
    generation: int
    had: int
    until: int
    epoch: float = -np.inf

    def encode(self) -> str:
        """Return it as a text for addresses."""
        last = np.format_float_positional(self.epoch, trim="-")
        return f"{self.boot}~{self.generation}~{self.had}~{self.until}~{last}"

    @classmethod
    def decode(cls, text: str) -> Cursor | None:
        """Return the cursor that ``text`` is, or None."""
        match = _CURSOR.fullmatch(text)
        if match is None:
            return None
        return cls(
            boot=match[1],
            generation=int(match[2]),
            had=int(match[3]),
            until=int(match[4]),
            epoch=float(match[5]),
        )


def new_points(
    entry: Entry, names: Sequence[str] | None, cursor: Cursor | None, boot: str
) -> SeriesPart:
    """Return the epochs that are new or changed for the holder of ``cursor``.

    Args:
        entry: The run.
        names: The series wanted, or ``at``; None for all. Names that the run lacks are left out.
        cursor: What the holder has, for the same ``names``; None for nothing.
        boot: The name of this server.
    """
    known = cursor is not None and (cursor.boot, cursor.generation) == (boot, entry.generation)
    if cursor is None or not known:
        cursor = Cursor(boot=boot, generation=entry.generation, had=0, until=0)
    series = entry.series
    recorded = series.recorded()
    wanted = recorded if names is None else {n: recorded[n] for n in names if n in recorded}
    due = (entry.stamps > cursor.until) | (
        (entry.stamps > cursor.had) & (series.epochs > cursor.epoch)
    )
    rows = np.flatnonzero(due)
    n_most = max(1, MAX_NUMBERS // max(1, len(wanted)))
    more = len(rows) > n_most
    following = Cursor(boot=boot, generation=entry.generation, had=entry.n_puts, until=entry.n_puts)
    if more:
        rows = rows[:n_most]
        following = Cursor(
            boot=boot,
            generation=entry.generation,
            had=cursor.had,
            until=entry.n_puts,  # earlier epochs that changed meanwhile are among the rows
            epoch=float(series.epochs[rows[-1]]),
        )
    return _part(entry, wanted, rows, following, reset=not known, more=more)


def _part(
    entry: Entry,
    wanted: Mapping[str, Floats],
    rows: NDArray[np.intp],
    cursor: Cursor,
    *,
    reset: bool,
    more: bool,
) -> SeriesPart:
    series = entry.series
    epochs = series.epochs[rows]
    marks = {name: series.nonfinite[name][rows] for name in wanted if name in series.nonfinite}
    return SeriesPart(
        id=entry.row.id,
        cursor=cursor.encode(),
        reset=reset,
        more=more,
        epochs=epochs.tolist(),
        values={shown_name(name): column[rows].tolist() for name, column in wanted.items()},
        nonfinite={shown_name(n): epochs[m].tolist() for n, m in marks.items() if m.any()},
        began=series.began,
        restarts=list(series.restarts),
        born=series.born,
    )


def shown_name(name: str) -> str:
    """Return a series' name as texts may hold it; nearly always the name itself."""
    return name if name.isprintable() else plain_text(name)
