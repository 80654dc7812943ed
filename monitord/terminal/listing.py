"""``monitord PATH --once`` and ``--json``: everything once, then the end."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, TextIO

from diagnostics.contract import strictjson
from monitord.finding.roots import parse_roots
from monitord.fleet import Fleet
from monitord.reading.runs import Run
from monitord.states import Limits
from monitord.terminal.columns import (
    COLUMNS,
    MOST_CELLS_ASKED,
    Column,
    fitting,
    plain,
    roomy_width,
    with_asked,
)
from monitord.terminal.filters import (
    ALIASES,
    FIELDS,
    Condition,
    check_names,
    is_missing,
    lookup,
    matches,
    parse_filter,
    sort_key,
    sort_names,
)
from monitord.terminal.lettering import plain_name, plain_text
from monitord.terminal.rows import Row, make_row, row_as_json, with_clocks

DEFAULT_ORDER = "state"
MOST_NAME_PIPED, REASONS_PRINTED = 120, 10
UNSHOWN = ("name", "folder", "reason")
"""Fields that get no column of their own: they are there, or too long."""


class Selection:
    """Which runs are shown, in which order and columns: ``--filter``, ``--sort``, ``--columns``."""

    def __init__(
        self, conditions: Sequence[Condition], order: str, asked: Sequence[str] = ()
    ) -> None:
        """Take conditions, all of which must hold, the order, and what else to show."""
        self.conditions = list(conditions)
        self.order = order
        self.asked = list(asked)
        self.text = ""
        self._rows: dict[str, tuple[int, Row]] = {}

    @classmethod
    def parse(cls, filters: Sequence[str], order: str | None, asked: str = "") -> Selection:
        """Return the selection that the options ask for."""
        conditions = [condition for text in filters for condition in parse_filter(text)]
        names = [name for name in asked.replace(" ", ",").split(",") if name]
        selection = cls(conditions, order or DEFAULT_ORDER, names)
        selection.text = " ".join(filters)
        return selection

    def check(self, runs: Sequence[Run]) -> None:
        """Raise `FilterError` if a name is known to no run."""
        check_names([condition.name for condition in self.conditions], runs)
        check_names(sort_names(self.order), runs, "sort")
        check_names(self.asked, runs, "columns")

    def refine(self, text: str, runs: Sequence[Run]) -> None:
        """Filter by ``text`` from now on; raises `FilterError` and changes nothing if it can't."""
        conditions = parse_filter(text)
        check_names([condition.name for condition in conditions], runs)
        self.conditions, self.text = conditions, text

    def reverse(self) -> None:
        """Turn the order around."""
        terms = [term for term in self.order.split(",") if term]
        self.order = ",".join(term[1:] if term[0] == "-" else f"-{term}" for term in terms)

    def columns(self, pairs: Sequence[tuple[Run, Row]]) -> list[Column]:
        """Return the table's columns: what is sorted by or filtered by ranges is among them."""
        varied = [c.name for c in self.conditions if not c.is_fixed]
        names = dict.fromkeys([*self.asked, *sort_names(self.order), *varied])
        full = {name: ALIASES.get(name, name) for name in names}
        usual = {column.field for column in COLUMNS}
        own = [name for name in names if full[name] not in usual and full[name] not in UNSHOWN]
        return with_asked([_asked_column(name, pairs) for name in own], set(full.values()))

    def pick(self, runs: Sequence[Run], now_s: float) -> list[tuple[Run, Row]]:
        """Return the rows of those of ``runs`` that are selected."""
        pairs = [(run, make_row(run, now_s)) for run in runs]
        return [pair for pair in pairs if matches(self.conditions, *pair)]

    def rows(self, fleet: Fleet, now_s: float) -> tuple[list[Row], list[tuple[Run, Row]]]:
        """Return all rows, and the selected ones in order; unchanged ones are remembered."""
        pairs: list[tuple[Run, Row]] = []
        fresh: dict[str, tuple[int, Row]] = {}
        for run in fleet.runs:
            known = self._rows.get(run.id)
            if known is not None and known[0] == run.version and known[1].name == run.name:
                row = with_clocks(known[1], run, now_s)
            else:
                row = make_row(run, now_s)
            fresh[run.id] = (run.version, row)
            pairs.append((run, row))
        self._rows = fresh
        key = sort_key(self.order)
        shown = [pair for pair in pairs if matches(self.conditions, *pair)]
        shown.sort(key=lambda pair: key(*pair))
        return [row for _, row in pairs], shown


def _asked_column(name: str, pairs: Sequence[tuple[Run, Row]]) -> Column:
    """Return a column of the values of ``name`` in the visible runs."""
    texts = {row.id: _value_text(lookup(name, run, row)) for run, row in pairs}
    title = name if name in FIELDS or name.startswith(("min.", "max.")) else name.rpartition(".")[2]
    longest = max(map(len, texts.values()), default=0)
    width = max(len(title), min(longest, MOST_CELLS_ASKED))
    return Column(title, width, 0, lambda row: plain(texts.get(row.id, "-")), field=name)


def _value_text(value: Any) -> str:
    if is_missing(value) or value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.5g}" if isinstance(value, float) else plain_text(value)


def look_once(paths: Sequence[str], limits: Limits | None = None) -> Fleet:
    """Return the runs below ``paths``, read and judged once.

    Raises:
        NoSuchRunError: A path is not there.
    """
    fleet = Fleet(parse_roots(paths), limits=limits, grace_s=0.0)
    fleet.sweep()
    fleet.judge()
    return fleet


def print_table(fleet: Fleet, selection: Selection, title: str, now_s: float) -> None:
    """Print the table to standard output."""
    everything, shown = selection.rows(fleet, now_s)
    print_pairs(shown, selection.columns(shown), title, len(everything))


def print_pairs(
    pairs: Sequence[tuple[Run, Row]], columns: Sequence[Column], title: str, n_all: int
) -> Sequence[Column]:
    """Print the table of these runs, of ``n_all``; return those of the columns that had room."""
    from monitord.terminal.table import make_console, make_screen, page_of, reasons

    rows = [row for _, row in pairs]
    # A pipe has no width: there all columns are, and names whole within reason.
    longest = min(max((len(plain_name(row.name)) for row in rows), default=4), MOST_NAME_PIPED)
    console = make_console(None if sys.stdout.isatty() else roomy_width(longest, columns))
    screen = make_screen(
        title, rows, rows, n_all=n_all, width=console.width,
        page=page_of(len(rows), None), columns=columns,
        notes=reasons(rows, console.width, columns=columns, n_most=REASONS_PRINTED),
    )  # fmt: skip
    console.print(screen)
    return fitting(console.width, longest, columns, rows)[0]


def print_json(
    fleet: Fleet, selection: Selection, now_s: float, stream: TextIO | None = None
) -> None:
    """Print strict JSON, one object a run and a line each."""
    out = (stream or sys.stdout).buffer
    _, shown = selection.rows(fleet, now_s)
    for run, row in shown:
        out.write(strictjson.encode(row_as_json(row, run)) + b"\n")
    out.flush()
