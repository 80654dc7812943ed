"""The columns of the table: how each is filled, and which of them fit into a terminal."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from monitord.durations import in_words
from monitord.states import State
from monitord.terminal.figures import fixed, number, sparkline
from monitord.terminal.rows import Row

# Colours that people with red-green blindness tell apart; the mark tells it without colour too.
STYLES: dict[State, tuple[str, str]] = {
    State.RUNNING: ("●", "cyan"),
    State.SLOW: ("◐", "yellow"),
    State.DIVERGED: ("▲", "bold magenta"),
    State.STALLED: ("◌", "bold yellow"),
    State.WAITING: ("○", "dim"),
    State.UNREADABLE: ("?", "bold magenta"),
    State.FAILED: ("✗", "bold red"),
    State.INTERRUPTED: ("■", "red"),
    State.FINISHED: ("✓", "blue"),
}
NEEDS_WORDS = frozenset(
    {State.DIVERGED, State.STALLED, State.UNREADABLE, State.FAILED, State.INTERRUPTED, State.SLOW}
)
LEAST_NAME, MOST_NAME = 32, 64
_LEAST_REASON = 24
_EMPTY = "-"
MOST_CELLS_ASKED = 16
"""Of a column that the user has asked for."""

Cell = tuple[tuple[str, str], ...]
"""Pieces of a cell: text, and style by rich's name."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column: where it may be left out (higher first; 0 never) and how it is filled.

    Attributes:
        field: What of a row it shows, by the filter's full name.
    """

    title: str
    width: int
    drop: int
    cell: Callable[[Row], Cell]
    right: bool = True
    field: str = ""


def plain(text: str, style: str = "") -> Cell:
    """Return a cell of one piece."""
    return ((text, style),)


def _state(row: Row) -> Cell:
    mark, style = STYLES[row.state]
    return plain(f"{mark} {row.state.value}", style)


def _epoch(row: Row) -> Cell:
    return ((str(row.epoch), ""), (f"/{row.n_planned}" if row.n_planned else "", "dim"))


def _blobs(row: Row) -> Cell:
    if row.n_blobs is None:
        return plain("-", "dim")
    if row.n_blobs_sampled:
        return plain(f"~{row.n_blobs}", "dim")
    return plain(str(row.n_blobs), "bold" if row.n_blobs >= 3 else "")


def _figure(text: str) -> Cell:
    return plain(text, "dim" if text == _EMPTY else "")


def _last(row: Row) -> Cell:
    if row.loss_last is None and row.epoch:
        return plain("nan", "bold magenta")
    return _figure(number(row.loss_last))


COLUMNS = (
    Column("state", 13, 0, _state, right=False, field="state"),
    Column("epoch", 9, 0, _epoch, field="epoch"),
    Column("test", 9, 0, _last, field="loss_last"),
    Column("best", 9, 3, lambda row: _figure(number(row.loss_best)), field="loss_best"),
    Column("blobs", 5, 1, _blobs, field="n_blobs"),
    Column("sep", 6, 6, lambda row: _figure(fixed(row.separation, 2)), field="separation"),
    Column("silh", 6, 7, lambda row: _figure(fixed(row.silhouette, 3)), field="silhouette"),
    Column("corr", 6, 8, lambda row: _figure(fixed(row.correlation, 3)), field="correlation"),
    Column("loss", 12, 5, lambda row: plain(sparkline(row.spark), "cyan"), right=False),
    Column("s/ep", 6, 4, lambda row: _figure(in_words(row.epoch_s)), field="epoch_s"),
    Column("left", 6, 2, lambda row: _figure(clock(row.left_s)), field="left_s"),
    Column("quiet", 6, 3, lambda row: _figure(clock(row.silent_s)), field="silent_s"),
)


def clock(seconds: float | None) -> str:
    """Return a duration that goes on, in steps so large that a calm table does not flicker."""
    if seconds is None or seconds < 10:
        return "-" if seconds is None else f"{int(seconds)}s"
    return in_words(int(seconds) if seconds < 60 else seconds // 5 * 5)


def with_asked(asked: Sequence[Column], fields: Collection[str]) -> list[Column]:
    """Return the columns with those that the user asked for, after the state.

    Args:
        asked: Columns of their own.
        fields: What else must be there: those columns are never left out.
    """
    usual = [replace(c, drop=0) if c.field in fields else c for c in COLUMNS]
    return [usual[0], *asked, *usual[1:]]


def fitting(
    width: int, longest_name: int, columns: Sequence[Column] = COLUMNS, rows: Sequence[Row] = ()
) -> tuple[list[Column], int, int]:
    """Return the columns that fit into ``width`` cells, the name's width, the reason's width.

    Names come first: for them, columns are left out, those without a value in ``rows`` first.
    """
    left = list(columns)
    wanted = min(max(longest_name, 4), MOST_NAME)
    least = min(wanted, LEAST_NAME)
    while (free := width - sum(c.width + 2 for c in left)) < least:
        worst = max(left, key=lambda column: (_is_empty(column, rows), column.drop))
        if worst.drop == 0:
            worst = max(left, key=lambda column: column.drop)
        if worst.drop == 0:
            break
        left.remove(worst)
    # On a wide terminal a name may be longer, as long as the reason has its room.
    name_width = max(4, min(wanted, free), min(longest_name, free - _LEAST_REASON - 2))
    reason_width = free - name_width - 2
    return left, name_width, reason_width if reason_width >= _LEAST_REASON else 0


def roomy_width(longest_name: int, columns: Sequence[Column]) -> int:
    """Return a width at which nothing is left out or shortened but the reasons."""
    return longest_name + sum(c.width + 2 for c in columns) + 2 + MOST_NAME


def _is_empty(column: Column, rows: Sequence[Row]) -> bool:
    return bool(rows) and column.drop > 0 and all(_text(column, row) == _EMPTY for row in rows)


def _text(column: Column, row: Row) -> str:
    return "".join(text for text, _ in column.cell(row))
