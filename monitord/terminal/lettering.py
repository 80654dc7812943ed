"""Names from files, made safe and one line long for a terminal."""

from __future__ import annotations

import unicodedata


def plain_name(name: str) -> str:
    """Return a run's name as `plain_text`, but whole: long names differ at their ends."""
    return plain_text(name, 4096)


def plain_text(text: object, n_most: int = 200) -> str:
    """Return ``text`` without anything that a terminal would obey.

    Control characters, escapes, line ends, bidirectional overrides and lone surrogates (bytes that
    are no UTF-8) are shown as ``?`` or left out; the length is bounded.
    """
    shown = []
    for character in str(text)[:n_most]:
        if character.isprintable():
            shown.append(character)
            continue
        category = unicodedata.category(character)
        if category == "Cf":
            continue  # joiners and direction marks: no width of their own
        shown.append(" " if category in ("Zs", "Zl", "Zp") else "?")
    return "".join(shown)
