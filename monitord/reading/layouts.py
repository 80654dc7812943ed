"""Decoding of histories whose entries all look alike, straight into numbers, without dicts.

The first entry of a file shows its layout. For each layout a type is made once, in which lists and
texts other than an epoch's time are skipped undecoded; a file whose later entries look otherwise is
decoded the general way.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
import numpy as np

from monitord.reading.columns import MAX_SERIES, Block
from monitord.reading.tabulation import MAX_DEPTH
from monitord.reading.times import seconds_of
from monitord.series import AT

MAX_LAYOUTS = 64
_NUMBER = float | bool | None
_TIME = datetime | float | None


class Layout:
    """The shape of one kind of entry."""

    def __init__(self, example: dict[str, Any]) -> None:
        """Make the types for entries like ``example``, which `shape_of` accepts."""
        self.names: list[str] = []
        entry = self._struct_for(example, "")
        self._decoder = msgspec.json.Decoder(list[entry])  # type: ignore[valid-type]

    def decode(self, data: bytes) -> Block | None:
        """Decode a JSON array of entries; None if some entry has another layout."""
        try:
            entries = self._decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        columns: list[Sequence[Any]] = []
        _flatten(entries, columns)
        if AT in self.names:
            place = self.names.index(AT)
            columns[place] = [seconds_of(time) for time in columns[place]]
        matrix = np.array(columns, dtype=np.float64)
        if np.isinf(matrix).any():
            return None
        values = dict(zip(self.names, matrix, strict=True))
        epochs = values.pop("epoch")
        if not np.isfinite(epochs).all() or (np.abs(epochs) > 2**53).any():
            return None
        return Block(epochs, values)

    def _struct_for(self, example: dict[str, Any], prefix: str) -> type[msgspec.Struct]:
        fields: list[tuple[str, Any]] = []
        rename = {}
        for place, (name, value) in enumerate(example.items()):
            kind: Any = msgspec.Raw
            if isinstance(value, dict):
                kind = self._struct_for(value, f"{prefix}{name}.")
            elif f"{prefix}{name}" == AT and not isinstance(value, list):
                kind = _TIME
                self.names.append(AT)
            elif not isinstance(value, str | list):
                kind = _NUMBER
                self.names.append(f"{prefix}{name}")
            field = f"f{place}"
            fields.append((field, kind))
            rename[field] = name
        return msgspec.defstruct(
            "Entry", fields, rename=rename, forbid_unknown_fields=True, gc=False
        )


def _flatten(entries: Sequence[Any], columns: list[Sequence[Any]]) -> None:
    """Append the columns of numbers and times, in the order of `Layout.names`."""
    for column in zip(*map(msgspec.structs.astuple, entries), strict=True):
        if isinstance(column[0], msgspec.Struct):
            _flatten(column, columns)
        elif not isinstance(column[0], msgspec.Raw):
            columns.append(column)


Shape = tuple[tuple[str, Any], ...]


def shape_of(example: Any, depth: int = 0) -> Shape | None:
    """Return what tells the layout of an entry from others; None if it is too odd for one."""
    if not isinstance(example, dict) or not example or depth > MAX_DEPTH:
        return None
    if depth == 0 and ("nonfinite" in example or not isinstance(example.get("epoch"), int)):
        return None
    shape: list[tuple[str, Any]] = []
    for name, value in example.items():
        if '"' in name or "\\" in name or not name.isprintable():
            return None  # no name for a field of a type
        if isinstance(value, dict):
            inner = shape_of(value, depth + 1)
            if inner is None:
                return None
            shape.append((name, inner))
        else:
            shape.append((name, isinstance(value, str | list)))
    return tuple(shape) if len(shape) <= MAX_SERIES else None


class Layouts:
    """The layouts seen so far, a bounded number of them."""

    def __init__(self) -> None:
        """Begin without layouts."""
        self._known: dict[Shape, Layout] = {}

    def find(self, example: Any) -> Layout | None:
        """Return the layout of entries like ``example``, or None if there shall be none."""
        shape = shape_of(example)
        if shape is None:
            return None
        layout = self._known.get(shape)
        if layout is None and len(self._known) < MAX_LAYOUTS:
            layout = self._known[shape] = Layout(example)
        return layout
