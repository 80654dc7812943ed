"""``monitord compare RUN RUN ...``: what differs in configuration, and how the runs ended."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diagnostics.contract import strictjson
from diagnostics.contract.errors import BlobwatchError
from monitord.durations import in_words
from monitord.reading.histories import TRAIN_NAMES
from monitord.reading.runs import Run
from monitord.terminal.figures import fixed, number
from monitord.terminal.filters import flatten
from monitord.terminal.lettering import plain_name, plain_text
from monitord.terminal.listing import Selection, look_once, print_pairs
from monitord.terminal.rows import Row, row_as_json

if TYPE_CHECKING:
    from rich.table import Table

Pair = tuple[Run, Row]
_UNIMPORTANT = frozenset({"output_dir", "experiment_name"})
_MISSING = "-"
_KEY_WIDTH, _RUN_WIDTH, _PIPED_WIDTH = 26, 16, 160


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
    paths: Sequence[str],
    filters: Sequence[str] = (),
    order: str | None = None,
    *,
    as_json: bool = False,
) -> int:
    """Print the comparison of the runs below ``paths``; return 0.

    Args:
        paths: Runs, or folders of runs.
        filters: As of ``--filter``.
        order: As of ``--sort``; None for that of the paths.
        as_json: Print JSON.

    Raises:
        BlobwatchError: There are fewer than two runs.
    """
    fleet = look_once(paths)
    selection = Selection.parse(filters, order)
    selection.check(fleet.runs)
    pairs = selection.rows(fleet, time.monotonic())[1]
    if order is None:
        pairs = _as_given(pairs, paths)
    if len(pairs) < 2:
        shown = " ".join([*paths, *(f"--filter {text}" for text in filters)])
        raise BlobwatchError(f"compare: {shown}: {len(pairs)} run there; name at least two")
    different = differences([run for run, _ in pairs])
    if as_json:
        content = {
            "runs": [run.name for run, _ in pairs],
            "configuration": different,
            "outcome": [row_as_json(row, run) for run, row in pairs],
        }
        sys.stdout.write(strictjson.encode_indented(content).decode())
        return 0
    _print(pairs, different, " ".join(paths))
    return 0


def _as_given(pairs: Sequence[Pair], paths: Sequence[str]) -> list[Pair]:
    """Return the runs in the order of the paths that they were found below."""
    roots = [Path(path).resolve() for path in paths]

    def place(pair: Pair) -> int:
        found = (i for i, root in enumerate(roots) if pair[0].folder.is_relative_to(root))
        return next(found, len(roots))

    return sorted(pairs, key=place)


def _print(pairs: Sequence[Pair], different: dict[str, list[Any]], title: str) -> None:
    from rich.text import Text

    from monitord.terminal.table import make_console

    console = make_console(None if sys.stdout.isatty() else _PIPED_WIDTH)
    room = console.width - _KEY_WIDTH
    if len(pairs) * _RUN_WIDTH <= room:
        console.print(_side_by_side(pairs, different, room // len(pairs)))
    else:
        _print_lines(pairs, different, title)
    if not different:
        console.print(Text("the configurations are the same, or there are none", style="dim"))


def _print_lines(pairs: Sequence[Pair], different: dict[str, list[Any]], title: str) -> None:
    """Print a line for each run: of many, values are easier to compare below each other."""
    columns = Selection([], "", list(different)).columns(pairs)
    # The last keys make room before the state and the loss do, the other columns before the keys.
    places = {key: place for place, key in enumerate(different, 1)} | {"state": 0, "loss_last": 0}
    ranked = [replace(c, drop=places.get(c.field, c.drop + len(different) + 1)) for c in columns]
    shown = {column.field for column in print_pairs(pairs, ranked, title, len(pairs))}
    if hidden := [key for key in different if key not in shown]:
        words = f"{', '.join(map(plain_text, hidden))}: no room; a pipe or --json has all keys"
        sys.stdout.write(plain_text(words, 1000) + "\n")


def _side_by_side(pairs: Sequence[Pair], different: dict[str, list[Any]], width: int) -> Table:
    """Return a table with a column for each run, ``width`` cells wide at most."""
    from rich.table import Table
    from rich.text import Text

    from monitord.terminal.columns import STYLES
    from monitord.terminal.names import wrapped
    from monitord.terminal.table import RULES

    rows = [row for _, row in pairs]
    table = Table(box=RULES, show_edge=False, pad_edge=False, header_style="bold")
    table.add_column("", style="dim", no_wrap=True, overflow="ellipsis", min_width=16)
    for row in rows:
        head = Text(wrapped(plain_name(row.name), max(8, width - 3)))
        table.add_column(head, justify="right", overflow="fold")
    for key, values in different.items():
        cells = [Text(plain_text(_shown(value)), overflow="fold") for value in values]
        table.add_row(Text(plain_text(key)), *cells)
    if different:
        table.add_section()
    for label, texts in outcomes(rows).items():
        cells = [Text(text) for text in texts]
        if label == "state":
            for cell, row in zip(cells, rows, strict=True):
                cell.stylize(STYLES[row.state][1])
        table.add_row(Text(label), *cells)
    return table


def _shown(value: Any) -> str:
    if value is None:
        return _MISSING
    return str(value) if isinstance(value, str | float) else json.dumps(value, default=str)
