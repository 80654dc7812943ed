"""What is told of one run beside its numbers, and of several beside each other."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from monitord.page.answers import Comparison, RunDetail, Segment
from monitord.page.board import Board, Entry
from monitord.page.points import shown_name
from monitord.page.replies import encode, shown
from monitord.reading.histories import TRAIN_NAMES
from monitord.states import ENDED
from monitord.terminal.comparison import differences, outcomes
from monitord.terminal.filters import flatten
from monitord.terminal.lettering import plain_text
from monitord.terminal.rows import Row

MAX_KEYS = 400
MAX_VALUE_BYTES = 2_000
MAX_COMPARISON_BYTES = 1_000_000
_FACTS = ("experiment_name", "device", "started_at", "ended_at", "training_duration_seconds")
_SEEDS = frozenset({"seed", "output_dir", "experiment_name"})


def detail_of(entry: Entry, board: Board) -> RunDetail:
    """Return all that is known of a run but its numbers."""
    run, series = entry.run, entry.series
    document, trouble = run.document, run.trouble
    facts = {name: shown(getattr(document, name)) for name in (*_FACTS, "process")}
    return RunDetail(
        row=entry.row,
        folder=plain_text(run.folder, 1000),
        config=shown(run.config),
        environment=shown(document.environment),
        facts={name: value for name, value in facts.items() if value is not None},
        restarts=list(series.restarts),
        segments=shown(document.segments),
        earlier=[
            Segment(n_epochs=len(old.epochs), last_epoch=int(old.epochs[-1]))
            for old in run.earlier
            if len(old.epochs)
        ],
        trouble=None
        if trouble is None
        else f"since {trouble.since}: {plain_text(trouble.reason, 400)}",
        diagnostics_missing=_missing(entry),
        series=[shown_name(name) for name in series.values],
        nonfinite={
            shown_name(name): int(series.epochs[marks.argmax()])
            for name, marks in series.nonfinite.items()
            if marks.any()
        },
        alerts=[told for told, _ in board.alerts if told.run == entry.row.id],
    )


def comparison_of(entries: Sequence[Entry]) -> Comparison:
    """Return how runs differ, and which of them differ in their seeds alone."""
    configuration, n_left_out = _bounded(differences([entry.run for entry in entries]))
    return Comparison(
        ids=[entry.row.id for entry in entries],
        names=[entry.row.name for entry in entries],
        configuration=configuration,
        n_keys_left_out=n_left_out,
        outcome=outcomes([_with_test_loss_alone(entry.plain) for entry in entries]),
        groups=_seed_groups(entries),
    )


def _bounded(different: Mapping[str, list[Any]]) -> tuple[dict[str, list[Any]], int]:
    """Return as many of the differing keys as an answer may hold, and how many are left out."""
    kept: dict[str, list[Any]] = {}
    n_bytes = 0
    for key, values in different.items():
        cells = [shown(value, MAX_VALUE_BYTES) for value in values]
        name = plain_text(key)
        n_bytes += len(encode([name, cells]))
        if len(kept) >= MAX_KEYS or n_bytes > MAX_COMPARISON_BYTES:
            break
        kept[name] = cells
    return kept, len(different) - len(kept)


def _with_test_loss_alone(row: Row) -> Row:
    """Return a row whose loss is none where it would be the training loss, which has its own."""
    if row.loss_name not in TRAIN_NAMES:
        return row
    return replace(row, loss_last=None, loss_best=None, loss_best_epoch=None)


def _missing(entry: Entry) -> str | None:
    """Return why there are no diagnostics; of a run that goes on they may still come."""
    reason = entry.series.diagnostics_missing
    if reason is None or entry.plain.state in ENDED or reason.startswith("diagnostics are off"):
        return reason
    return "no diagnostics yet"


def _seed_groups(entries: Sequence[Entry]) -> list[list[str]]:
    groups: dict[str, list[str]] = {}
    for entry in entries:
        flat = flatten(entry.run.config)
        kept = {key: value for key, value in flat.items() if key.rpartition(".")[2] not in _SEEDS}
        # a run without a configuration is a group of its own: nothing is known to be the same
        key = json.dumps(kept, sort_keys=True, default=str) if kept else entry.row.id
        groups.setdefault(key, []).append(entry.row.id)
    return list(groups.values())
