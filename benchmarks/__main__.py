"""``python -m benchmarks [NAME ...]``: measure, print one table, and renew docs/performance.md."""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.document import renew
from benchmarks.table import TITLES, Row, cells, keep

NAMES = (
    "training",
    "overhead",
    "gpu",
    "start",
    "delivery",
    "scale",
    "blob_detection",
    "analysis",
    "monitord",
    "pictures",
    "page",
    "profiler",
)
ON_REQUEST = ("agreement", "precision")
"""Too long for ``make bench``; the document shows what was measured last."""
KNOWN = (*NAMES, *ON_REQUEST)
DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "performance.md"


def main(names: list[str]) -> int:
    """Run the named benchmarks, or all; return the exit status."""
    console = Console(width=160)
    table = Table(box=None, header_style="bold")
    for title in TITLES:
        table.add_column(title)
    failed: list[str] = []
    started = time.monotonic()
    for name in names or NAMES:
        begun = time.monotonic()
        try:
            rows: list[Row] = importlib.import_module(f"benchmarks.bench_{name}").measure()
        except Exception:
            console.print_exception()
            failed.append(name)
            continue
        if not rows:
            console.print(f"{name}: not measured, this machine has none", style="dim")
            continue
        keep(name, rows)
        for row in rows:
            table.add_row(*cells(row))
        console.print(f"{name}: {time.monotonic() - begun:.0f} s", style="dim")
    console.print(table)
    console.print(f"{time.monotonic() - started:.0f} s", style="dim")
    renew(DOCUMENT, KNOWN)
    if failed:
        console.print(f"not measured: {', '.join(failed)}", style="bold")
    return 1 if failed else 0


def _asked() -> list[str]:
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    listed = f"all but {', '.join(ON_REQUEST)} without any: {', '.join(KNOWN)}"
    parser.add_argument("name", nargs="*", help=f"parts; {listed}")
    names: list[str] = parser.parse_args().name
    if unknown := [name for name in names if name not in KNOWN]:
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(KNOWN)}")
    return names


if __name__ == "__main__":
    sys.exit(main(_asked()))
