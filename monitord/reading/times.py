"""When things happened, as files tell it: to seconds since 1970."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

_START = datetime(1970, 1, 1, tzinfo=UTC)


def seconds_of(time: Any) -> float | None:
    """Return a time in seconds since 1970 (UTC); None for what is none.

    Args:
        time: ISO 8601, in UTC where it names no zone, or seconds since 1970.
    """
    if isinstance(time, str):
        try:
            time = datetime.fromisoformat(time)
        except ValueError:
            return None
    if isinstance(time, datetime):
        return ((time if time.tzinfo else time.replace(tzinfo=UTC)) - _START).total_seconds()
    if isinstance(time, bool) or not isinstance(time, int | float):
        return None
    return float(time) if abs(time) < 1e15 else None
