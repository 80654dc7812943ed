"""Durations for people: short, of nearly constant width."""

from __future__ import annotations

import math


def in_words(seconds: float | None) -> str:
    """Return seconds as ``0.42s``, ``8.3s``, ``45s``, ``3m20s``, ``2h05m``, ``4d03h``; or ``-``."""
    if seconds is None or not math.isfinite(seconds):
        return "-"
    seconds = max(0.0, seconds)
    if seconds < 0.995:
        return f"{seconds:.2f}s"
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"
