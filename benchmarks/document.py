"""The table of docs/performance.md, made from what the benchmarks kept."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from benchmarks.table import RESULTS, TITLES, Row, cells

BEGIN, END = "<!-- the table: python -m benchmarks -->", "<!-- end of the table -->"


def renew(document: Path, names: Iterable[str]) -> None:
    """Replace the table between the marks in the document."""
    before, _, rest = document.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    table = "\n".join(lines(names))
    document.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", encoding="utf-8")


def lines(names: Iterable[str]) -> list[str]:
    """Return the table's lines, a part for each machine that measured."""
    made: list[str] = []
    machine = ""
    for name in names:
        path = RESULTS / f"{name}.json"
        if not path.exists():
            continue
        content = json.loads(path.read_bytes())
        measured_on = ", ".join(map(str, content["machine"].values()))
        if measured_on != machine:
            machine = measured_on
            made += ["", f"Machine: {machine}.", "", _line(TITLES), _line(["---"] * len(TITLES))]
        made += [_line(cells(Row(**row))) for row in content["rows"]]
    return [*made[1:], ""]


def _line(texts: Iterable[str]) -> str:
    return "| " + " | ".join(text.replace("|", "/") for text in texts) + " |"
