"""Trouble that comes and goes, such as a full disk, is told in few words."""

from __future__ import annotations

import time

QUIET_S = 60.0
"""Between two warnings of the same trouble."""


class Trouble:
    """Says when a trouble is to be told: once while it lasts, and at most once a minute."""

    def __init__(self) -> None:
        """Begin without trouble."""
        self._is_told = False
        self._told_at = float("-inf")

    def is_news(self) -> bool:
        """Note that there is trouble; return whether to tell of it."""
        now = time.monotonic()
        if self._is_told or now - self._told_at < QUIET_S:
            return False
        self._is_told, self._told_at = True, now
        return True

    def is_over(self) -> bool:
        """Note that all is well; return whether that is news, since trouble was told."""
        was_told, self._is_told = self._is_told, False
        return was_told
