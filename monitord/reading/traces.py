"""Stage two of a run: its traces, each with epochs of its own."""

from __future__ import annotations

from typing import Any

from monitord.reading.columns import Columns
from monitord.reading.tabulation import tabulate
from monitord.series import AT, RunSeries


class Traces:
    """The traces of one run, by number."""

    def __init__(self) -> None:
        """Begin without traces."""
        self._columns: dict[int, Columns] = {}

    def put_document(self, stage2: Any) -> bool:
        """Take over ``stage2`` of ``results.json``, whatever it is; return whether it has news."""
        traces = stage2.get("traces") if isinstance(stage2, dict) else None
        news = False
        for trace in traces if isinstance(traces, list) else []:
            number = trace.get("trace") if isinstance(trace, dict) else None
            history = trace.get("training_history") if isinstance(trace, dict) else None
            if isinstance(number, int) and isinstance(history, list):
                news = self.put(number, history) or news
        return news

    def put(self, number: int, entries: list[Any]) -> bool:
        """Add epochs of one trace; return whether there are more of them now."""
        columns = self._columns.setdefault(number, Columns())
        before = columns.n_epochs
        columns.put(tabulate(entries))
        return columns.n_epochs > before

    def series(self) -> dict[str, RunSeries]:
        """Return the traces by name: ``trace0`` and so on."""
        return {
            f"trace{number}": RunSeries(
                name=f"trace {number}",
                epochs=columns.epochs,
                values=columns.series(),
                nonfinite=columns.nonfinite(),
                at=columns.get(AT),
            )
            for number, columns in sorted(self._columns.items())
            if columns.n_epochs
        }

    def progress(self) -> str | None:
        """Return where stage two stands, or None without it."""
        if not self._columns:
            return None
        number = max(self._columns)
        return f"stage two: trace {number}, epoch {self._columns[number].last_epoch()}"
