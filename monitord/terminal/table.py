"""The table for the terminal, drawn with rich; texts from files are never markup."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.box import Box
from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.segment import Segment
from rich.text import Text

from monitord.states import ORDER, State
from monitord.terminal.columns import (
    COLUMNS,
    LEAST_NAME,
    NEEDS_WORDS,
    STYLES,
    Cell,
    Column,
    fitting,
    plain,
)
from monitord.terminal.lettering import plain_name, plain_text
from monitord.terminal.names import shortened
from monitord.terminal.rows import Row

RULES = Box("    \n    \n ─  \n    \n    \n    \n    \n    \n")
MAX_NOTES = 3
HEIGHT_BUT_ROWS = 6
"""Lines of a screen that are no rows and no notes."""
_GAP = "  "


class RowLines:
    """The rows as aligned lines.

    Columns have fixed widths, so nothing needs to be measured: a thousand rows take a tenth of
    the time of rich's own table.
    """

    def __init__(
        self, rows: Sequence[Row], width: int, columns: Sequence[Column] = COLUMNS
    ) -> None:
        """Choose from ``columns`` those that fit ``width`` cells."""
        self._rows = rows
        names = [plain_name(row.name) for row in rows]
        longest = max(map(cell_len, names), default=4)
        fits = fitting(width, longest, columns, rows)
        self._columns, self._name_width, self._reason_width = fits
        self._names = shortened(names, self._name_width)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the heads, a rule, and a line per row."""
        heads = [fit((("run", "dim"),), self._name_width)]
        rules: list[Cell] = [plain("─" * self._name_width, "dim")]
        for column in self._columns:
            heads.append(fit(plain(column.title, "dim"), column.width, right=column.right))
            rules.append(plain("─" * column.width, "dim"))
        if self._reason_width:
            heads.append(plain("why", "dim"))
            rules.append(plain("─" * self._reason_width, "dim"))
        yield from _line(heads, console)
        yield from _line(rules, console)
        for row, name in zip(self._rows, self._names, strict=True):
            cells = [fit(plain(name), self._name_width)]
            for column in self._columns:
                cells.append(fit(column.cell(row), column.width, right=column.right))
            if self._reason_width and (reason := _reason(row)):
                cells.append(fit(plain(reason, "dim"), self._reason_width))
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
    past_stage_one = row.state is State.RUNNING and row.epoch == row.n_planned
    words = [plain_text(row.reason)] if row.state in NEEDS_WORDS or past_stage_one else []
    if row.n_restarts:
        words.append(f"{row.n_restarts} restart{'s' if row.n_restarts > 1 else ''}")
    if row.born is not None and row.state not in NEEDS_WORDS:
        words.append(f"blobs since epoch {row.born}")
    return "; ".join(words)


def reasons(
    rows: Sequence[Row],
    width: int,
    *,
    columns: Sequence[Column] = COLUMNS,
    n_most: int = MAX_NOTES,
) -> list[str]:
    """Return a line for each run in trouble, ``n_most`` at most, where the table has no reasons."""
    longest = max((cell_len(plain_name(row.name)) for row in rows), default=4)
    if fitting(width, longest, columns)[2]:
        return []
    troubled = sorted(
        (row for row in rows if row.state in NEEDS_WORDS and row.state is not State.SLOW),
        key=lambda row: ORDER[row.state],
    )[:n_most]
    names = shortened([plain_name(row.name) for row in troubled], max(LEAST_NAME, width // 3))
    return [f"{name}: {plain_text(row.reason)}" for name, row in zip(names, troubled, strict=True)]


def make_heading(title: str, rows: Sequence[Row], n_all: int, width: int) -> Text:
    """Return the line above the table: what is watched, and how many are in which state.

    Args:
        title: What is watched.
        rows: Those that the filter lets through.
        n_all: Number of all.
        width: Of the terminal, in cells.
    """
    name = plain_text(title)
    counts = _make_counts(rows, n_all, in_words=True)
    if counts.cell_len + min(len(name), LEAST_NAME) > width:
        counts = _make_counts(rows, n_all, in_words=False)  # the rows tell what the marks mean
    room = max(8, width - counts.cell_len)
    if len(name) > room:
        name = f"…{name[-room + 1 :]}"  # the end of a path tells more than its beginning
    return Text(name, style="bold", no_wrap=True, overflow="ellipsis").append_text(counts)


def _make_counts(rows: Sequence[Row], n_all: int, *, in_words: bool) -> Text:
    counts = Text(no_wrap=True, overflow="ellipsis")
    n_shown = len(rows)
    runs = f"{n_all} run{'' if n_all == 1 else 's'}"
    counts.append(f"  {runs if n_shown == n_all else f'{n_shown} of {runs}'}", "dim")
    found = Counter(row.state for row in rows)
    for state in sorted(found, key=ORDER.__getitem__):
        mark, style = STYLES[state]
        counts.append(f"  {mark} {found[state]}{f' {state.value}' if in_words else ''}", style)
    return counts


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
    n_free = max(1, height - HEIGHT_BUT_ROWS - n_notes)
    n_pages = max(1, -(-n_rows // n_free))
    number = min(number, n_pages - 1)
    return Page(number, n_pages, number * n_free, min(n_rows, (number + 1) * n_free), n_rows)


def make_screen(
    title: str,
    rows: Sequence[Row],
    visible: Sequence[Row],
    *,
    n_all: int,
    width: int,
    page: Page,
    columns: Sequence[Column] = COLUMNS,
    notes: Sequence[str] = (),
    keys: str = "",
) -> RenderableType:
    """Return everything that is on the screen.

    Args:
        title: What is watched.
        rows: The runs that the filter lets through, for the counts.
        visible: The rows of ``page``.
        n_all: Number of all runs.
        width: Of the terminal, in cells.
        page: Which of the runs that the filter lets through are visible.
        columns: From which those are taken that fit.
        notes: Lines for the foot: warnings and alerts; texts from files are allowed.
        keys: What the keys do, for the foot.
    """
    parts: list[RenderableType] = [make_heading(title, rows, n_all, width), Text("")]
    if visible:
        parts.append(RowLines(visible, width, columns))
    else:
        waiting = "no experiment yet: no folder here has a results.json"
        parts.append(Text("no run passes the filter" if n_all else waiting, style="dim"))
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


class _Console(Console):
    """Leaves a closed pipe to the command."""

    def on_broken_pipe(self) -> None:
        """Raise it on; rich would end the process with status 1."""
        raise


def make_console(width: int | None = None) -> Console:
    """Return a console on standard output that never interprets texts.

    Args:
        width: In cells, where there is no terminal; ``COLUMNS`` goes before it.
    """
    width = None if "COLUMNS" in os.environ else width
    return _Console(markup=False, highlight=False, emoji=False, width=width, soft_wrap=False)
