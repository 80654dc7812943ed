"""The table for the terminal, drawn with rich; texts from files are never markup."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rich.box import Box
from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.segment import Segment
from rich.text import Text

from monitord.durations import in_words
from monitord.states import ORDER, State
from monitord.terminal.figures import fixed, number, sparkline
from monitord.terminal.lettering import plain_text
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
_NEEDS_WORDS = frozenset(
    {State.DIVERGED, State.STALLED, State.UNREADABLE, State.FAILED, State.INTERRUPTED, State.SLOW}
)
RULES = Box("    \n    \n ─  \n    \n    \n    \n    \n    \n")
_LEAST_NAME = 14
_MOST_NAME = 48
_LEAST_REASON = 24
MAX_NOTES = 3
_GAP = "  "

Cell = tuple[tuple[str, str], ...]
"""Pieces of a cell: text, and style by rich's name."""


@dataclass(frozen=True, slots=True)
class _Column:
    """One column: where it may be left out (higher first) and how it is filled."""

    title: str
    width: int
    drop: int
    cell: Callable[[Row], Cell]
    right: bool = True


def _plain(text: str, style: str = "") -> Cell:
    return ((text, style),)


def _state(row: Row) -> Cell:
    mark, style = STYLES[row.state]
    return _plain(f"{mark} {row.state.value}", style)


def _epoch(row: Row) -> Cell:
    return ((str(row.epoch), ""), (f"/{row.n_planned}" if row.n_planned else "", "dim"))


def _blobs(row: Row) -> Cell:
    if row.n_blobs is None:
        return _plain("-", "dim")
    if row.n_blobs_sampled:
        return _plain(f"~{row.n_blobs}", "dim")
    return _plain(str(row.n_blobs), "bold" if row.n_blobs >= 3 else "")


def _figure(text: str) -> Cell:
    return _plain(text, "dim" if text == "-" else "")


def _last(row: Row) -> Cell:
    if row.loss_last is None and row.epoch:
        return _plain("nan", "bold magenta")
    return _figure(number(row.loss_last))


COLUMNS = (
    _Column("state", 13, 0, _state, right=False),
    _Column("epoch", 9, 0, _epoch),
    _Column("test", 9, 0, _last),
    _Column("best", 9, 3, lambda row: _figure(number(row.loss_best))),
    _Column("blobs", 5, 1, _blobs),
    _Column("sep", 6, 6, lambda row: _figure(fixed(row.separation, 2))),
    _Column("silh", 6, 7, lambda row: _figure(fixed(row.silhouette, 3))),
    _Column("corr", 6, 8, lambda row: _figure(fixed(row.correlation, 3))),
    _Column("loss", 12, 5, lambda row: _plain(sparkline(row.spark), "cyan"), right=False),
    _Column("s/ep", 6, 4, lambda row: _figure(in_words(row.epoch_s))),
    _Column("left", 6, 2, lambda row: _figure(clock(row.left_s))),
    _Column("quiet", 6, 3, lambda row: _figure(clock(row.silent_s))),
)


def clock(seconds: float | None) -> str:
    """Return a duration that goes on, in steps so large that a calm table does not flicker."""
    if seconds is None or seconds < 10:
        return "-" if seconds is None else f"{int(seconds)}s"
    return in_words(int(seconds) if seconds < 60 else seconds // 5 * 5)


def fitting(width: int, longest_name: int) -> tuple[list[_Column], int, int]:
    """Return the columns that fit into ``width`` cells, the name's width, the reason's width."""
    columns = list(COLUMNS)
    wanted = min(max(longest_name, 4), _MOST_NAME)
    least = min(wanted, _LEAST_NAME)
    while (free := width - sum(c.width + 2 for c in columns)) < least:
        worst = max(columns, key=lambda column: column.drop)
        if worst.drop == 0:
            break
        columns.remove(worst)
    name_width = max(4, min(wanted, free))
    reason_width = free - name_width - 2
    return columns, name_width, reason_width if reason_width >= _LEAST_REASON else 0


class RowLines:
    """The rows as aligned lines.

    Columns have fixed widths, so nothing needs to be measured: a thousand rows take a tenth of
    the time of rich's own table.
    """

    def __init__(self, rows: Sequence[Row], width: int) -> None:
        """Choose the columns for ``width`` cells."""
        self._rows = rows
        names = [plain_text(row.name) for row in rows]
        longest = max(map(cell_len, names), default=4)
        self._names = names
        self._columns, self._name_width, self._reason_width = fitting(width, longest)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the heads, a rule, and a line per row."""
        heads = [fit((("run", "dim"),), self._name_width)]
        rules: list[Cell] = [_plain("─" * self._name_width, "dim")]
        for column in self._columns:
            heads.append(fit(_plain(column.title, "dim"), column.width, right=column.right))
            rules.append(_plain("─" * column.width, "dim"))
        if self._reason_width:
            heads.append(_plain("why", "dim"))
            rules.append(_plain("─" * self._reason_width, "dim"))
        yield from _line(heads, console)
        yield from _line(rules, console)
        for row, name in zip(self._rows, self._names, strict=True):
            cells = [fit(_plain(name), self._name_width)]
            for column in self._columns:
                cells.append(fit(column.cell(row), column.width, right=column.right))
            if self._reason_width and (reason := _reason(row)):
                cells.append(fit(_plain(reason, "dim"), self._reason_width))
            yield from _line(cells, console)


def fit(cell: Cell, width: int, *, right: bool = False) -> Cell:
    """Return a cell of exactly ``width``; what is too long ends in an ellipsis."""
    free = width - sum(cell_len(text) for text, _ in cell)
    if free < 0:
        whole = "".join(text for text, _ in cell)
        return ((set_cell_size(whole, width - 1) + "…", cell[0][1]),)
    blanks = (" " * free, "")
    return (blanks, *cell) if right else (*cell, blanks)


def _line(cells: Sequence[Cell], console: Console) -> Iterator[Segment]:
    for place, cell in enumerate(cells):
        if place:
            yield Segment(_GAP)
        for text, style in cell:
            if text:
                yield Segment(text, console.get_style(style) if style else None)
    yield Segment.line()


def _reason(row: Row) -> str:
    words = [plain_text(row.reason)] if row.state in _NEEDS_WORDS else []
    if row.n_restarts:
        words.append(f"{row.n_restarts} restart{'s' if row.n_restarts > 1 else ''}")
    if row.born is not None and row.state not in _NEEDS_WORDS:
        words.append(f"blobs since epoch {row.born}")
    return "; ".join(words)


def reasons(rows: Sequence[Row], width: int) -> list[str]:
    """Return a line for each run in trouble, where the table has no room for the reasons."""
    longest = max((cell_len(plain_text(row.name)) for row in rows), default=4)
    if fitting(width, longest)[2]:
        return []
    troubled = sorted(
        (row for row in rows if row.state in _NEEDS_WORDS and row.state is not State.SLOW),
        key=lambda row: ORDER[row.state],
    )
    return [f"{plain_text(row.name, 24)}: {row.reason}" for row in troubled[:MAX_NOTES]]


def make_heading(title: str, rows: Sequence[Row], n_shown: int, width: int) -> Text:
    """Return the line above the table: what is watched, and how many runs are in which state."""
    counts = Text(no_wrap=True, overflow="ellipsis")
    n_all = len(rows)
    runs = f"{n_all} run{'' if n_all == 1 else 's'}"
    counts.append(f"  {runs if n_shown == n_all else f'{n_shown} of {runs}'}", "dim")
    found = Counter(row.state for row in rows)
    for state in sorted(found, key=ORDER.__getitem__):
        mark, style = STYLES[state]
        counts.append(f"  {mark} {found[state]} {state.value}", style)
    name = plain_text(title)
    room = max(8, width - counts.cell_len)
    if len(name) > room:
        name = f"…{name[-room + 1 :]}"  # the end of a path tells more than its beginning
    return Text(name, style="bold", no_wrap=True, overflow="ellipsis").append_text(counts)


@dataclass(frozen=True, slots=True)
class Page:
    """Which rows are on the screen: ``start`` to ``end`` of ``n_rows``."""

    number: int
    n_pages: int
    start: int
    end: int
    n_rows: int


def page_of(n_rows: int, height: int | None, n_notes: int = 0, number: int = 0) -> Page:
    """Return page ``number`` (from 0) of a terminal ``height`` lines high; None shows all."""
    if height is None:
        return Page(0, 1, 0, n_rows, n_rows)
    n_free = max(1, height - 6 - n_notes)
    n_pages = max(1, -(-n_rows // n_free))
    number = min(number, n_pages - 1)
    return Page(number, n_pages, number * n_free, min(n_rows, (number + 1) * n_free), n_rows)


def make_screen(
    title: str,
    rows: Sequence[Row],
    visible: Sequence[Row],
    *,
    width: int,
    page: Page,
    notes: Sequence[str] = (),
    keys: str = "",
) -> RenderableType:
    """Return everything that is on the screen.

    Args:
        title: What is watched.
        rows: All runs, for the counts.
        visible: The rows of ``page``.
        width: Of the terminal, in cells.
        page: Which of the runs that the filter lets through are visible.
        notes: Lines for the foot: warnings and alerts; texts from files are allowed.
        keys: What the keys do, for the foot.
    """
    parts: list[RenderableType] = [make_heading(title, rows, page.n_rows, width), Text("")]
    if visible:
        parts.append(RowLines(visible, width))
    else:
        waiting = "no experiment yet; waiting for results.json"
        parts.append(Text("no run passes the filter" if rows else waiting, style="dim"))
    foot = Text(no_wrap=True, overflow="ellipsis", style="dim")
    if page.n_pages > 1:
        foot.append(f"page {page.number + 1} of {page.n_pages}   ")
    foot.append(keys)
    if notes or foot.plain:
        parts.append(Text(""))
    for note in notes:
        shown = plain_text(note, 400)
        parts.append(Text(shown, style="yellow", no_wrap=True, overflow="ellipsis"))
    if foot.plain:
        parts.append(foot)
    return Group(*parts)


def make_console(width: int | None = None) -> Console:
    """Return a console on standard output that never interprets texts."""
    return Console(markup=False, highlight=False, emoji=False, width=width, soft_wrap=False)
