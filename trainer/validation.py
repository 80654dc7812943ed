"""Checks plain values against typed sections and collects every problem, not only the first."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

import msgspec

from diagnostics.contract.errors import BlobwatchError, nearest

MISSING = object()


class ConfigError(BlobwatchError):
    """A configuration cannot be used; the message has one line for each problem."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a configuration.

    Attributes:
        key: Dotted key.
        value: The value received; `MISSING` where the key itself is the problem.
        accepted: What is accepted, or what is wrong with the key.
    """

    key: str
    value: Any
    accepted: str

    def line(self, origin: str) -> str:
        """Return the message: file, key, value, what is accepted."""
        if self.value is MISSING:
            return f"{origin}: {self.key}: {self.accepted}"
        return f"{origin}: {self.key}: got {_shown(self.value)}; must be {self.accepted}"


def unknown_keys(
    values: Mapping[str, Any],
    kind: type[msgspec.Struct],
    prefix: str,
    *,
    elsewhere: Mapping[str, str],
) -> list[Problem]:
    """Return a problem for each key that ``kind`` does not have.

    Args:
        values: What was given.
        kind: The section.
        prefix: Dotted beginning of the section's keys, such as ``"training."``.
        elsewhere: Where each known key belongs, to point at it from the wrong place.
    """
    problems = []
    own = kind.__struct_fields__
    for key in values:
        if key in own:
            continue
        if key in elsewhere:
            place = elsewhere[key]
            hint = f"; it belongs to {place}.{key}" if place else "; it belongs to the top level"
        else:
            hint = nearest(str(key), own) or nearest(str(key).rpartition(".")[2], elsewhere)
        problems.append(Problem(f"{prefix}{key}", MISSING, f"unknown key{hint}"))
    return problems


def check_section(
    values: Mapping[str, Any], kind: type[msgspec.Struct], prefix: str, problems: list[Problem]
) -> dict[str, Any]:
    """Return the values that fit their fields' types, and add a problem for each other one."""
    hints = get_type_hints(kind, include_extras=True)
    fitting = {}
    for key, value in values.items():
        if key not in hints:
            continue
        if isinstance(value, float) and not math.isfinite(value):
            problems.append(Problem(f"{prefix}{key}", value, "a finite number"))
            continue
        try:
            fitting[key] = msgspec.convert(value, hints[key], strict=True)
        except (msgspec.ValidationError, UnicodeEncodeError, OverflowError) as error:
            problems.append(Problem(f"{prefix}{key}", value, _accepted(hints[key], str(error))))
    return fitting


def _accepted(hint: Any, message: str) -> str:
    """Say what a field accepts, in words."""
    info = msgspec.inspect.type_info(hint)
    options = info.types if isinstance(info, msgspec.inspect.UnionType) else (info,)
    described = [text for option in options if (text := _describe(option))]
    return " or ".join(described) if described else message


def _describe(info: msgspec.inspect.Type) -> str:
    match info:
        case msgspec.inspect.NoneType():
            return "null"
        case msgspec.inspect.BoolType():
            return "true or false"
        case msgspec.inspect.LiteralType(values=values):
            return " or ".join(map(repr, values))
        case msgspec.inspect.IntType():
            return "a whole number" + _bounds(info)
        case msgspec.inspect.FloatType():
            return "a number" + _bounds(info)
        case msgspec.inspect.StrType(pattern=pattern):
            return _TEXTS.get(pattern or "", "a text")
        case msgspec.inspect.DictType():
            return "an object of name to options"
        case msgspec.inspect.ListType():
            return "a list of names"
    return ""


_TEXTS = {
    r"^(cpu|cuda(:\d+)?)$": "'cpu', 'cuda' or 'cuda:N'",
    r"^[^./\x00][^/\x00]*$": "a text of 1 to 200 characters without '/', not beginning with '.'",
}


def _bounds(info: msgspec.inspect.IntType | msgspec.inspect.FloatType) -> str:
    bounds = []
    for symbol, bound in ((">=", info.ge), (">", info.gt), ("<=", info.le), ("<", info.lt)):
        if bound is not None:
            bounds.append(f"{symbol} {bound}")
    return " " + " and ".join(bounds) if bounds else ""


def _shown(value: Any) -> str:
    text = json.dumps(value, default=repr, ensure_ascii=False)
    text = re.sub(r"[\x00-\x1f\x7f]", "?", text)
    return text if len(text) <= 80 else text[:77] + "..."
