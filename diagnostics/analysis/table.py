"""The terminal's tables of analyses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from diagnostics.analysis.report import counted, number, point

COLUMNS = {
    "epoch": "epoch",
    "n_blobs": "blobs",
    "separation": "separation",
    "correlation": "correlation",
    "n_clusters_dbscan": "DBSCAN",
    "best_n_components_bic": "BIC says",
    "n_4_cycles": "4-cycles",
}
LEAST_NAME, N_LEAST_COLUMNS = 5, 4
"""On a narrow terminal the last columns go, until there is room for a name's number."""


def print_analyses(analyses: Sequence[Mapping[str, Any]], console: Console | None = None) -> None:
    """Print one row for each analysed epoch of each run, then each run's blobs at its last."""
    console = console or Console()
    names = [_name(metrics) for metrics in analyses]
    columns = dict(COLUMNS)
    while (room := console.width - sum(len(title) + 2 for title in columns.values())) < LEAST_NAME:
        if len(columns) == N_LEAST_COLUMNS:
            break
        columns.popitem()
    # Names that do not fit beside the figures are told apart by number; in full they are below.
    fits = max(map(len, names), default=0) <= room
    marks = ["" if fits or len(names) == 1 else f"[{i}] " for i in range(1, len(names) + 1)]
    rows = _table("weights" if fits else "", *columns.values())
    for name, mark, metrics in zip(names, marks, analyses, strict=True):
        first = name if fits else mark.strip()
        for row in metrics["trend"]:
            rows.add_row(Text(first), *(number(_short(row[key])) for key in columns))
            first = ""
    console.print(rows)
    for name, mark, metrics in zip(names, marks, analyses, strict=True):
        console.print()
        words = f"{mark}{name}: {_blobs_in_words(metrics)}"
        console.print(Text(words, "bold"), soft_wrap=True)
        console.print(_blob_table(metrics))


def _blob_table(metrics: Mapping[str, Any]) -> Table:
    blobs = _table("blob", "share", "center", "depth", "radial KS", "kurtosis")
    pairs = zip(metrics["blob_structure"]["blobs"], metrics["gaussianity"], strict=False)
    for k, (blob, gauss) in enumerate(pairs, 1):
        distance = gauss["radial_ks"] and _short(gauss["radial_ks"]["distance"])
        kurtosis = gauss["mardia"] and _short(gauss["mardia"]["kurtosis"])
        blobs.add_row(
            str(k), f"{100 * blob['share']:.3g} %", point(_shorts(blob["center"])),
            number(_short(blob["depth"])), number(distance), number(kurtosis),
        )  # fmt: skip
    return blobs


def _blobs_in_words(metrics: Mapping[str, Any]) -> str:
    n, born = metrics["blob_structure"]["n_blobs"], metrics["blob_born_epoch"]
    words = counted(n, "blob")
    return words if born is None or n < 2 else f"{words} since epoch {born}"


def _name(metrics: Mapping[str, Any]) -> str:
    name = Path(metrics["source"]).resolve().name
    return name if metrics["trace"] is None else f"{name}, trace {metrics['trace']}"


def _short(value: Any) -> Any:
    return float(f"{value:.3g}") if isinstance(value, float) else value


def _shorts(values: Sequence[Any]) -> list[Any]:
    return [_short(value) for value in values]


def _table(*titles: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for k, title in enumerate(titles):
        table.add_column(
            title, justify="left" if k == 0 else "right", no_wrap=k > 0, overflow="fold"
        )
    return table
