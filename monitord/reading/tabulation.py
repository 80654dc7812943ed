"""From the entries of a ``training_history`` to float columns; tolerant of every type."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from monitord.reading.columns import MAX_SERIES, Block, Marks
from monitord.reading.times import seconds_of
from monitord.series import AT, Floats

MAX_DEPTH = 5
"""Nested objects deeper than this hold no series."""
_NUMBERS = frozenset({float, int, bool, type(None)})
_WORDS = frozenset({"nan", "inf", "-inf", "+inf", "infinity", "-infinity", "+infinity"})


def tabulate(entries: Sequence[Any], n_before: int = 0) -> Block:
    """Turn entries of a history into columns.

    Every number at any depth becomes a series under its dotted name; texts and lists do not, but
    for the time of an epoch, ``at``.

    Args:
        entries: One object per epoch, as decoded; anything else counts as an empty object.
        n_before: Number of entries before these, to number entries that have no ``epoch``.

    Returns:
        The epochs in file order; the caller sees to it that they increase.
    """
    records = [_object(entry) for entry in entries]
    values: dict[str, Floats] = {}
    marks: dict[str, Marks] = {}
    _collect("", records, values, marks, 0)
    if any("nonfinite" in record for record in records):
        _apply_named_nonfinite(records, values, marks)
    epochs = values.pop("epoch", None)
    marks.pop("epoch", None)
    if epochs is None or not np.isfinite(epochs).all() or (np.abs(epochs) > 2**53).any():
        epochs = np.arange(n_before + 1, n_before + 1 + len(records), dtype=np.float64)
    return Block(epochs, values, marks)


def _collect(
    prefix: str,
    records: Sequence[dict[str, Any]],
    values: dict[str, Floats],
    marks: dict[str, Marks],
    depth: int,
) -> None:
    for name, column in _columns(records):
        if name == "nonfinite" and depth == 0:
            continue
        full = f"{prefix}{name}"
        kinds = set(map(type, column))
        if dict in kinds:
            if depth < MAX_DEPTH:
                whole = len(kinds) == 1
                nested = column if whole else [_object(item) for item in column]
                _collect(f"{full}.", nested, values, marks, depth + 1)
        elif full == AT:
            values[AT] = np.array([seconds_of(item) for item in column], dtype=np.float64)
        elif len(values) < MAX_SERIES and not _holds_lists(kinds):
            _store(full, column, kinds, values, marks)


def _holds_lists(kinds: set[type]) -> bool:
    return list in kinds and kinds <= {list, type(None)}


def _object(item: Any) -> dict[str, Any]:
    return item if isinstance(item, dict) else {}


def _columns(records: Sequence[dict[str, Any]]) -> Iterable[tuple[str, Sequence[Any]]]:
    """Yield each key with its value per record; fast where all records have the same keys."""
    if not records:
        return
    names = tuple(records[0])
    if len(set(map(tuple, records))) == 1:
        yield from zip(names, zip(*map(dict.values, records), strict=True), strict=True)
        return
    union = dict.fromkeys(name for record in records for name in record)
    for name in union:
        yield name, [record.get(name) for record in records]


def _store(
    name: str,
    column: Sequence[Any],
    kinds: set[type],
    values: dict[str, Floats],
    marks: dict[str, Marks],
) -> None:
    array = _fast(column) if kinds <= _NUMBERS else None
    if array is None:
        numbers = [_number(item) for item in column]
        if str in kinds and all(number is None for number in numbers):
            return  # a text, not a series
        array = np.array(numbers, dtype=np.float64)
        column = numbers
    bad = ~np.isfinite(array)
    if bad.any():
        bad &= np.array([item is not None for item in column])
        if bad.any():
            marks[name] = bad
    values[name] = array


def _fast(column: Sequence[Any]) -> Floats | None:
    try:
        return np.array(column, dtype=np.float64)
    except (OverflowError, TypeError, ValueError):
        return None


def _number(item: Any) -> float | None:
    if isinstance(item, str):
        # "NaN" in quotes is how some writers keep their JSON strict
        return float(item) if item.strip().lower() in _WORDS else None
    if not isinstance(item, int | float):
        return None
    try:
        return float(item)
    except OverflowError:
        return math.inf if item > 0 else -math.inf


def _apply_named_nonfinite(
    records: Sequence[dict[str, Any]], values: dict[str, Floats], marks: dict[str, Marks]
) -> None:
    for row, record in enumerate(records):
        named = record.get("nonfinite")
        if not isinstance(named, dict):
            continue
        for name, kind in named.items():
            if name not in marks and len(marks) >= MAX_SERIES:
                continue
            mark = marks.setdefault(name, np.zeros(len(records), dtype=np.bool_))
            mark[row] = True
            number = _number(kind)
            if name in values and number is not None and not math.isfinite(number):
                values[name][row] = number
