"""``python -m benchmarks [NAME ...]``: measure, and print one table."""

from __future__ import annotations

import importlib
import sys
import time

from rich.console import Console
from rich.table import Table

from benchmarks.table import Row, keep

NAMES = ("training", "overhead", "blob_detection", "monitord", "pictures", "page", "profiler")


def main(names: list[str]) -> int:
    """Run the named benchmarks, or all; return the exit status."""
    console = Console(width=140)
    table = Table(box=None, header_style="bold")
    for title in ("what", "this project", "held against", "ratio", "bar", "holds"):
        table.add_column(title)
    for name in names or NAMES:
        started = time.monotonic()
        rows: list[Row] = importlib.import_module(f"benchmarks.bench_{name}").measure()
        keep(name, rows)
        for row in rows:
            ratio = "" if row.ratio is None else f"{row.ratio:.3f}"
            holds = {True: "yes", False: "NO", None: ""}[row.holds]
            table.add_row(row.name, row.ours, row.peer, ratio, row.bar, holds)
        console.print(f"{name}: {time.monotonic() - started:.0f} s", style="dim")
    console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
