"""``monitord PATH --once`` and ``--json``: everything once, then the end."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TextIO

from diagnostics.contract import strictjson
from monitord.finding.roots import parse_roots
from monitord.fleet import Fleet
from monitord.reading.runs import Run
from monitord.states import Limits
from monitord.terminal.filters import (
    Condition,
    check_names,
    matches,
    parse_filter,
    sort_key,
    sort_names,
)
from monitord.terminal.rows import Row, make_row, row_as_json, with_clocks

DEFAULT_ORDER = "state"


class Selection:
    """Which runs are shown and in which order: ``--filter`` and ``--sort``."""

    def __init__(self, conditions: Sequence[Condition], order: str) -> None:
        """Take conditions, all of which must hold, and the order."""
        self.conditions = list(conditions)
        self.order = order
        self._rows: dict[str, tuple[int, Row]] = {}

    @classmethod
    def parse(cls, filters: Sequence[str], order: str | None) -> Selection:
        """Return the selection that the options ask for."""
        conditions = [condition for text in filters for condition in parse_filter(text)]
        return cls(conditions, order or DEFAULT_ORDER)

    def check(self, runs: Sequence[Run]) -> None:
        """Raise `FilterError` if a name is known to no run."""
        check_names([condition.name for condition in self.conditions], runs)
        check_names(sort_names(self.order), runs, "sort")

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
    from monitord.terminal.table import make_console, make_screen, page_of

    console = make_console(None if sys.stdout.isatty() else 160)
    rows, shown = selection.rows(fleet, now_s)
    visible = [row for _, row in shown]
    page = page_of(len(visible), None)
    console.print(make_screen(title, rows, visible, width=console.width, page=page))


def print_json(
    fleet: Fleet, selection: Selection, now_s: float, stream: TextIO | None = None
) -> None:
    """Print strict JSON, one object a run and a line each."""
    out = (stream or sys.stdout).buffer
    _, shown = selection.rows(fleet, now_s)
    for run, row in shown:
        out.write(strictjson.encode(row_as_json(row, run)) + b"\n")
    out.flush()
