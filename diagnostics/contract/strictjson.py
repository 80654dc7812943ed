"""Strict JSON: no NaN, no Infinity, nothing that another language's parser would refuse.

A non-finite number becomes null, and its name and kind are kept beside it, so that nothing is
lost: ``{"loss": NaN}`` is written as ``{"loss": null, "nonfinite": {"loss": "nan"}}``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from diagnostics.contract.errors import UnreadableFileError

MAX_SAFE_INTEGER = 2**53 - 1
"""The largest integer that every JSON reader holds exactly (RFC 8259, section 6)."""

_encoder = msgspec.json.Encoder()


def encode(value: Any) -> bytes:
    """Encode plain data, msgspec structs and NumPy scalars as compact strict JSON.

    Raises:
        TypeError: A value has no JSON form (a set of objects, an open file, ...).
    """
    return _encoder.encode(plain(builtins(value)))


def encode_indented(value: Any) -> bytes:
    """Encode like `encode`, indented for people, with a final newline."""
    return msgspec.json.format(encode(value), indent=2) + b"\n"


def decode(data: bytes, path: Path) -> Any:
    """Decode JSON that a person or program wrote; ``path`` names it in the error.

    Raises:
        UnreadableFileError: The bytes are not valid UTF-8 JSON.
    """
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableFileError(f"{path}: not valid JSON: {error}") from None


def plain(value: Any, name: str = "", nonfinite: dict[str, str] | None = None) -> Any:
    """Return ``value`` with only what strict JSON can hold.

    Args:
        value: Nested dicts, lists, tuples, NumPy scalars and arrays, numbers, strings, None.
        name: Dotted name of ``value``, used as the key in ``nonfinite``.
        nonfinite: Filled with ``{dotted name: "nan" | "inf" | "-inf"}`` for each number that
            became null.
    """
    if value is None or isinstance(value, bool | msgspec.Raw):
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, Mapping):
        return {
            plain(str(key)): plain(item, f"{name}.{key}" if name else str(key), nonfinite)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [plain(item, f"{name}[{i}]", nonfinite) for i, item in enumerate(value)]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist(), name, nonfinite)
    if isinstance(value, int):
        if abs(value) <= MAX_SAFE_INTEGER:
            return value
        value = _as_float(value)
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        if nonfinite is not None:
            nonfinite[name] = repr(value)
        return None
    raise TypeError(f"{name or 'value'}: {type(value).__name__} has no JSON form")


def builtins(value: Any) -> Any:
    """Return structs, NumPy scalars and arrays as plain Python data; NaN stays NaN.

    Raises:
        TypeError: A value has no plain form.
    """
    return msgspec.to_builtins(value, enc_hook=_from_numpy)


def _as_float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _from_numpy(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no JSON form")
