"""``monitord compare RUN RUN ...``: what differs in configuration, and how the runs ended."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from diagnostics.contract import strictjson
from diagnostics.contract.errors import BlobwatchError
from monitord.durations import in_words
from monitord.reading.histories import TRAIN_NAMES
from monitord.reading.runs import Run
from monitord.terminal.figures import fixed, number
from monitord.terminal.filters import flatten
from monitord.terminal.lettering import plain_name, plain_text
from monitord.terminal.listing import look_once
from monitord.terminal.rows import Row, make_row, row_as_json

_UNIMPORTANT = frozenset({"output_dir", "experiment_name"})
_MISSING = "-"


def differences(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """Return the configuration keys whose values are not the same in all runs.

    Returns:
        Dotted key to one value per run; None where a run lacks the key.
    """
    flats = [flatten(run.config) for run in runs]
    keys = dict.fromkeys(key for flat in flats for key in flat)
    found: dict[str, list[Any]] = {}
    for key in keys:
        values = [flat.get(key) for flat in flats]
        texts = {json.dumps(value, sort_keys=True, default=str) for value in values}
        if len(texts) > 1 and key.rpartition(".")[2] not in _UNIMPORTANT:
            found[key] = values
    return found


def outcomes(rows: Sequence[Row]) -> dict[str, list[str]]:
    """Return how the runs stand, label to one text per run."""
    tested = [
        row.loss_name not in TRAIN_NAMES for row in rows
    ]  # else the table shows the train loss
    last = [number(row.loss_last) for row in rows]
    best = [
        _MISSING if row.loss_best is None else f"{number(row.loss_best)} @{row.loss_best_epoch}"
        for row in rows
    ]
    return {
        "state": [row.state.value for row in rows],
        "epoch": [
            f"{row.epoch}/{row.n_planned}" if row.n_planned else f"{row.epoch}" for row in rows
        ],
        "test loss, last": _where(tested, last),
        "test loss, best": _where(tested, best),
        "train loss, last": [number(row.train_last) for row in rows],
        "blobs": [
            _MISSING if row.n_blobs is None else f"{'~' * row.n_blobs_sampled}{row.n_blobs}"
            for row in rows
        ],
        "blobs since epoch": [str(row.born) if row.born is not None else _MISSING for row in rows],
        "separation": [fixed(row.separation, 2) for row in rows],
        "silhouette": [fixed(row.silhouette, 3) for row in rows],
        "correlation": [fixed(row.correlation, 3) for row in rows],
        "time per epoch": [in_words(row.epoch_s) for row in rows],
        "restarts": [str(row.n_restarts) for row in rows],
    }


def _where(known: Sequence[bool], texts: Sequence[str]) -> list[str]:
    return [text if yes else _MISSING for yes, text in zip(known, texts, strict=True)]


def run_comparison(
    paths: Sequence[str], *, as_json: bool = False, stream: TextIO | None = None
) -> int:
    """Print the comparison of the runs below ``paths``; return 0.

    Raises:
        BlobwatchError: There are fewer than two runs.
    """
    fleet = look_once(paths)
    runs = _as_given(fleet.runs, paths)
    if len(runs) < 2:
        shown = " ".join(paths)
        raise BlobwatchError(f"compare: {shown}: {len(runs)} run there; name at least two")
    now_s = time.monotonic()
    rows = [make_row(run, now_s) for run in runs]
    different = differences(runs)
    if as_json:
        content = {
            "runs": [run.name for run in runs],
            "configuration": different,
            "outcome": [row_as_json(row, run) for row, run in zip(rows, runs, strict=True)],
        }
        (stream or sys.stdout).write(strictjson.encode_indented(content).decode())
        return 0
    _print(runs, rows, different)
    return 0


def _as_given(runs: Sequence[Run], paths: Sequence[str]) -> list[Run]:
    """Return the runs in the order of the paths that they were found below."""
    roots = [Path(path).resolve() for path in paths]

    def place(run: Run) -> int:
        found = (i for i, root in enumerate(roots) if run.folder.is_relative_to(root))
        return next(found, len(roots))

    return sorted(runs, key=place)


def _print(runs: Sequence[Run], rows: Sequence[Row], different: dict[str, list[Any]]) -> None:
    from rich.table import Table
    from rich.text import Text

    from monitord.terminal.columns import STYLES
    from monitord.terminal.table import RULES, make_console

    console = make_console(None if sys.stdout.isatty() else 160)
    n_fitting = max(1, (console.width - 26) // 16)
    for start in range(0, len(runs), n_fitting):
        part = slice(start, start + n_fitting)
        table = Table(box=RULES, show_edge=False, pad_edge=False, header_style="bold")
        table.add_column("", style="dim", no_wrap=True, overflow="ellipsis", min_width=16)
        for run in runs[part]:
            table.add_column(Text(plain_name(run.name)), justify="right", overflow="fold")
        for key, values in different.items():
            cells = [Text(plain_text(_shown(value)), overflow="fold") for value in values[part]]
            table.add_row(Text(plain_text(key)), *cells)
        if different:
            table.add_section()
        for label, texts in outcomes(rows).items():
            cells = [Text(text) for text in texts[part]]
            if label == "state":
                for cell, row in zip(cells, rows[part], strict=True):
                    cell.stylize(STYLES[row.state][1])
            table.add_row(Text(label), *cells)
        console.print(table)
        console.print()
    if not different:
        console.print(Text("the configurations are the same, or there are none", style="dim"))


def _shown(value: Any) -> str:
    if value is None:
        return _MISSING
    return str(value) if isinstance(value, str | float) else json.dumps(value, default=str)
