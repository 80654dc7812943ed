"""What a finished run has to say on the terminal: its folder and its last epochs."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from diagnostics.contract.errors import UnreadableFileError
from diagnostics.contract.folder import RunFolder
from diagnostics.contract.results import read_results

N_EPOCHS = 5
COLUMNS = (
    ("epoch", "epoch", "d"),
    ("train loss", "train.scaled_loss", ".4f"),
    ("test loss", "test.scaled_loss", ".4f"),
    ("blobs", "diagnostics.n_blobs", "d"),
    ("separation", "diagnostics.blob_separation", ".3f"),
    ("silhouette", "diagnostics.blob_silhouette", ".3f"),
    ("correlation", "diagnostics.blob_correlation", ".4f"),
    ("sampled", "diagnostics.n_clusters_dbscan", "d"),
)


def print_summary(console: Console, folder: RunFolder) -> None:
    """Print the last epochs as a table, and where the results are."""
    try:
        results = read_results(folder.results)
    except (FileNotFoundError, UnreadableFileError) as error:
        console.print(f"no results to show yet: {error}", markup=False, soft_wrap=True)
        return
    history = [msgspec.json.decode(raw) for raw in results.training_history]
    if history:
        console.print(last_epochs(history[-N_EPOCHS:]))
        if words := structure(history[-1]):
            console.print(words)
    for line in failures(history):
        console.print(line, markup=False, soft_wrap=True)
    console.print(f"results folder: {folder.root}", markup=False, soft_wrap=True)


def last_epochs(entries: list[dict[str, Any]]) -> Table:
    """Return a table of the entries, with the columns for which there are values."""
    table = Table(box=None, pad_edge=False, padding=(0, 0, 0, 1), header_style="bold")
    columns = [c for c in COLUMNS if any(_find(entry, c[1]) is not None for entry in entries)]
    for title, _, _ in columns:
        table.add_column(title, justify="right")
    for entry in entries:
        values = [(_find(entry, name), form) for _, name, form in columns]
        table.add_row(*("-" if value is None else format(value, form) for value, form in values))
    return table


def structure(entry: dict[str, Any]) -> str | None:
    """Return how many blobs there are and since when, or None without diagnostics."""
    n_blobs = _find(entry, "diagnostics.n_blobs")
    born = _find(entry, "diagnostics.blob_born_epoch")
    if n_blobs is None or born is None:
        return None
    if n_blobs < 2:
        return "1 blob" if n_blobs else "no blobs: no weight is finite"
    return f"{n_blobs} blobs since epoch {born}"


def failures(history: list[dict[str, Any]]) -> list[str]:
    """Return one line for each diagnostic that failed: how often, and its last reason."""
    counts: Counter[str] = Counter()
    reasons: dict[str, str] = {}
    for entry in history:
        found = entry.get("diagnostic_errors") or {}
        counts.update(found.keys())
        reasons |= found
    return [
        f"diagnostic {name} failed at {n} of {len(history)} epochs: {reasons[name]}"
        for name, n in counts.items()
    ]


def _find(entry: dict[str, Any], name: str) -> Any:
    value: Any = entry
    for key in name.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value
