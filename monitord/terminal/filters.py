"""The language of ``--filter`` and ``--sort``: names of fields, metrics and configuration keys.

A filter is a list of conditions, all of which must hold: ``lr=0.02 state=running,slow
test.scaled_loss<9``. A name is a field of the row, a configuration key (dotted, or its last part
alone), a metric (its last value; ``min.NAME`` and ``max.NAME`` over all epochs), or an alias.
"""

from __future__ import annotations

import fnmatch
import functools
import math
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diagnostics.contract.errors import BlobwatchError, nearest
from monitord.reading.runs import Run
from monitord.states import ORDER, State
from monitord.terminal.rows import Row

ALIASES: Mapping[str, str] = {
    "lr": "learning_rate",
    "bs": "batch_size",
    "batch": "batch_size",
    "hidden": "hidden_size",
    "wd": "decoder_regularization",
    "loss": "loss_last",
    "test": "loss_last",
    "last": "loss_last",
    "best": "loss_best",
    "train": "train_last",
    "blobs": "n_blobs",
    "sep": "separation",
    "sil": "silhouette",
    "corr": "correlation",
    "left": "left_s",
    "silent": "silent_s",
    "silence": "silent_s",
    "pace": "epoch_s",
    "restarts": "n_restarts",
}
CLOCKED = ("silent_s", "left_s")
"""Fields that change with time alone."""
FIELDS = tuple(name for name in Row.__dataclass_fields__ if name not in ("spark", "id"))
_CONDITION = re.compile(r"([A-Za-z_][\w.\-/]*)\s*(<=|>=|!=|==|=|<|>|~)\s*(.*)", re.DOTALL)
_NUMBERS = re.compile(r"((?<![\d.])[0-9]{1,18}\.[0-9]{1,18}(?![\d.])|[0-9]{1,18})")
_MISSING = object()


class FilterError(BlobwatchError):
    """A condition that cannot be understood, or a name that nothing answers to."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison: ``name operator value``; for ``=`` the value may list alternatives."""

    name: str
    operator: str
    value: str

    @property
    def follows_clock(self) -> bool:
        """Whether it can become true without news."""
        return ALIASES.get(self.name, self.name) in CLOCKED

    @property
    def is_fixed(self) -> bool:
        """Whether it lets a single value through."""
        return self.operator == "=" and not any(sign in self.value for sign in ",*?[")

    def holds(self, run: Run, row: Row) -> bool:
        """Return whether it holds; a value that is missing satisfies only ``!=``."""
        found = lookup(self.name, run, row)
        if found is _MISSING or found is None:
            return self.operator == "!=" or (self.operator == "=" and self.value == "null")
        if self.operator in ("=", "!="):
            same = any(_equal(found, wanted) for wanted in self.value.split(","))
            return same == (self.operator == "=")
        if self.operator == "~":
            return self.value.casefold() in str(found).casefold()
        number = _as_number(found)
        limit = _as_number(self.value)
        if number is None or limit is None:
            return False
        return _COMPARISONS[self.operator](number, limit)


_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def parse_filter(text: str) -> list[Condition]:
    """Return the conditions in ``text``.

    Raises:
        FilterError: A part of it is no comparison, or compares by size with a text.
    """
    try:
        parts = shlex.split(text)
    except ValueError as error:
        raise FilterError(f"filter {text!r}: {error}") from None
    return [_parse_condition(part) for part in parts]


def _parse_condition(part: str) -> Condition:
    match = _CONDITION.fullmatch(part)
    if match is None or not match[3]:
        raise FilterError(
            f"filter {part!r}: expected NAME=VALUE, also with != < <= > >= ~ and without blanks,"
            " such as lr=0.02 or 'test.scaled_loss<9'"
        )
    name, operator, value = match[1], "=" if match[2] == "==" else match[2], match[3]
    if operator in _COMPARISONS and _as_number(value) is None:
        raise FilterError(f"filter {part!r}: {value!r} is not a number, {operator} needs one")
    if name == "state" and operator in ("=", "!="):
        _check_states(part, value.casefold().split(","))
    return Condition(name, operator, value)


def _check_states(part: str, wanted: Sequence[str]) -> None:
    """Raise `FilterError` for what is no state; ``completed`` is what results.json calls it."""
    known = [state.value for state in State]
    for word in wanted:
        if not any(fnmatch.fnmatchcase(state, word) for state in known):
            meant = "; did you mean finished?" if word == "completed" else nearest(word, known)
            raise FilterError(
                f"filter {part!r}: no state is {word!r}{meant} (states: {', '.join(known)})"
            )


def check_names(names: Iterable[str], runs: Sequence[Run], what: str = "filter") -> None:
    """Raise if a name is known to none of ``runs``; with no runs, anything may come.

    Raises:
        FilterError: With the nearest known name.
    """
    if not any(run.columns.n_epochs or run.config for run in runs):
        return
    known: set[str] = {*FIELDS, *ALIASES}
    for run in runs:
        known.update(run.series().names())
        for key in flatten(run.config):
            known.update((key, key.rpartition(".")[2]))
    for name in names:
        bare = name.removeprefix("min.").removeprefix("max.")
        if bare not in known:
            raise FilterError(f"{what}: no run has {name!r}{nearest(bare, known)}")


def matches(conditions: Sequence[Condition], run: Run, row: Row) -> bool:
    """Return whether all conditions hold."""
    return all(condition.holds(run, row) for condition in conditions)


def lookup(name: str, run: Run, row: Row) -> Any:
    """Return what ``name`` stands for in a run; a private mark if it has none of that name."""
    for extreme, function in (("min.", np.min), ("max.", np.max)):
        if name.startswith(extreme):
            column = run.column(name.removeprefix(extreme))
            finite = column[np.isfinite(column)] if column is not None else np.empty(0)
            return float(function(finite)) if finite.size else _MISSING
    column = run.column(name)
    if column is not None:
        return float(column[-1]) if column.size and math.isfinite(column[-1]) else _MISSING
    full = ALIASES.get(name, name)
    if full in FIELDS:
        return getattr(row, full)
    flat = flatten(run.config)
    if full in flat:
        return flat[full]
    ending = f".{full}"
    return next((value for key, value in flat.items() if key.endswith(ending)), _MISSING)


def is_missing(found: Any) -> bool:
    """Return whether `lookup` found nothing."""
    return found is _MISSING


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a nested configuration with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def sort_key(order: str) -> Callable[[Run, Row], tuple[Any, ...]]:
    """Return the key function for ``--sort``: names with commas between, ``-`` for descending.

    Runs that lack a value come last, in either direction; text sorts after numbers.
    """
    terms = [(part.lstrip("-"), part.startswith("-")) for part in order.split(",") if part]

    def key(run: Run, row: Row) -> tuple[Any, ...]:
        return (*(_sortable(name, down, run, row) for name, down in terms), natural(row.name))

    return key


def sort_names(order: str) -> list[str]:
    """Return the names that a ``--sort`` order uses."""
    return [part.lstrip("-") for part in order.split(",") if part]


@functools.lru_cache(maxsize=100_000)
def natural(text: str) -> tuple[tuple[int, float, str], ...]:
    """Return a key by which ``run_2`` comes before ``run_10``, and ``lr0.003`` before ``lr0.02``.

    Numbers with several dots are versions: each of their parts counts by itself.
    """
    parts = _NUMBERS.split(text.casefold())
    return tuple((0, float(p), "") if k % 2 else (1, 0.0, p) for k, p in enumerate(parts))


def _sortable(name: str, down: bool, run: Run, row: Row) -> tuple[Any, ...]:
    if name == "state":
        place = ORDER[row.state]
        return (0, -place if down else place, ())
    found = lookup(name, run, row)
    if found is _MISSING or found is None:
        return (2, 0.0, ())
    number = _as_number(found)
    if number is not None:
        return (0, -number if down else number, ())
    characters = natural(str(found))
    return (1, 0.0, tuple((-a, -b, _inverted(c)) for a, b, c in characters) if down else characters)


def _inverted(text: str) -> str:
    return "".join(chr(0x10FFFF - ord(character)) for character in text) + chr(0x10FFFF)


def _equal(found: Any, wanted: str) -> bool:
    number, other = _as_number(found), _as_number(wanted)
    if number is not None and other is not None:
        return math.isclose(number, other, rel_tol=1e-9, abs_tol=0.0)
    text = (
        {True: "true", False: "false"}.get(found, str(found)) if isinstance(found, bool) else found
    )
    return fnmatch.fnmatchcase(str(text).casefold(), wanted.casefold())


def _as_number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None
