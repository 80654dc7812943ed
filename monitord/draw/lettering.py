"""Words and numbers in pictures: text from files made harmless, fitted and kept apart."""

from __future__ import annotations

import functools
import itertools
import math
import unicodedata
from collections.abc import Sequence

from matplotlib import font_manager

from monitord.draw.style import FONT, GLYPH_LENDERS

MISSING_GLYPH = "\u25a1"
POINTS_PER_INCH = 72.0
EM_PIXELS = 100


@functools.cache
def font_families() -> tuple[str, ...]:
    """Return the families to draw with: the bundled one, then those installed that lend glyphs."""
    installed = {entry.name for entry in font_manager.fontManager.ttflist}
    return (FONT, *(family for family in GLYPH_LENDERS if family in installed))


@functools.cache
def _drawable() -> frozenset[int]:
    """Return the code points for which there is a glyph."""
    points: set[int] = set()
    for family in font_families():
        points |= set(font_manager.get_font(font_manager.findfont(family)).get_charmap())
    return frozenset(points)


@functools.lru_cache(maxsize=4096)
def printable(text: str) -> str:
    """Return ``text`` as one line of drawable characters.

    Control characters become spaces; characters without a glyph, lone surrogates among them,
    become a box, once and silently, where matplotlib would warn at each drawing.
    """
    kept = []
    for character in text:
        if unicodedata.category(character) in ("Cc", "Zl", "Zp"):
            kept.append(" ")
        elif ord(character) in _drawable():
            kept.append(character)
        elif unicodedata.category(character) not in ("Cf", "Mn", "Me"):
            kept.append(MISSING_GLYPH)
    return " ".join("".join(kept).split())


def width_in(text: str, size_pt: float, *, bold: bool = False) -> float:
    """Return the width of ``text`` in inches, but for kerning."""
    return sum(advance(character, bold) for character in text) * size_pt / POINTS_PER_INCH


@functools.lru_cache(maxsize=8192)
def advance(character: str, bold: bool) -> float:
    """Return how far a character moves the pen, in ems; one em for lent glyphs."""
    properties = font_manager.FontProperties(family=FONT, weight="bold" if bold else "normal")
    face = font_manager.get_font(font_manager.findfont(properties))
    if not face.get_char_index(ord(character)):
        return 1.0
    face.set_size(EM_PIXELS, POINTS_PER_INCH)
    advance: float = face.load_char(ord(character)).linearHoriAdvance / 65536.0 / EM_PIXELS
    return advance


def fitted(text: str, room_in: float, size_pt: float, *, bold: bool = False) -> str:
    """Return ``text`` printable and, if it is wider than ``room_in``, with its middle left out.

    The end stays because names of runs differ there: in stamps and in settings.
    """
    text = printable(text)
    width = width_in(text, size_pt, bold=bold)
    if width <= room_in:
        return text
    for n_kept in range(int(len(text) * room_in / width) + 2, 1, -1):
        n_head = n_kept // 2
        head, tail = text[:n_head].rstrip(), text[len(text) - (n_kept - n_head) :].lstrip()
        if width_in(f"{head}\u2026{tail}", size_pt, bold=bold) <= room_in:
            return f"{head}\u2026{tail}"
    return "\u2026"


def told_apart(names: Sequence[str], room_in: float, size_pt: float) -> list[str]:
    """Return the names fitted; where one is too wide, first without the parts common to all.

    The parts are those between underscores. ``sweep_lr0.1_s0_2026`` and ``sweep_lr0.2_s0_2026``
    become ``lr0.1`` and ``lr0.2``.
    """
    names = [printable(name) for name in names]
    if len(names) > 1 and any(width_in(name, size_pt) > room_in for name in names):
        split = [name.split("_") for name in names]
        if len({len(parts) for parts in split}) == 1:
            differing = [len(set(column)) > 1 for column in zip(*split, strict=True)]
            if any(differing):
                names = ["_".join(itertools.compress(parts, differing)) for parts in split]
    return [fitted(name, room_in, size_pt) for name in names]


def number(value: float) -> str:
    """Return ``value`` to three digits, short: ``8.85``, ``0.0031``, ``5.2e7``."""
    if not math.isfinite(value):
        return str(value)
    if value == int(value) and abs(value) < 1e5:
        return tidy(str(int(value)))
    if 1e-3 <= abs(value) < 1e5:
        digits = max(0, 2 - math.floor(math.log10(abs(value))))
        return tidy(f"{value:.{digits}f}")
    return tidy(f"{value:.2e}")


def tidy(text: str) -> str:
    """Return a number's ``text`` with a real minus sign and a short exponent: ``1e30``."""
    if "e" in text:
        mantissa, exponent = text.split("e")
        if "." in mantissa:
            mantissa = mantissa.rstrip("0").rstrip(".")
        text = f"{mantissa}e{int(exponent)}"
    return text.replace("-", "\u2212")


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Return positions near the ``wanted`` ones, at least ``gap`` apart, in [``low``, ``high``].

    Clusters of labels that would overlap are centred on their mean. Where the room is too small
    for all, the distance shrinks evenly.
    """
    n = len(wanted)
    if n == 0:
        return []
    if n > 1:
        gap = min(gap, (high - low) / (n - 1))
    order = sorted(range(n), key=lambda index: wanted[index])
    clusters: list[tuple[float, int]] = []
    for index in order:
        centre, size = min(max(wanted[index], low), high), 1
        while clusters and clusters[-1][0] + clusters[-1][1] * gap / 2 > centre - size * gap / 2:
            before, n_before = clusters.pop()
            centre = (before * n_before + centre * size) / (n_before + size)
            size += n_before
            half = (size - 1) * gap / 2
            centre = min(max(centre, low + half), high - half)
        clusters.append((centre, size))
    places = [
        centre + (rank - (size - 1) / 2) * gap for centre, size in clusters for rank in range(size)
    ]
    result = [0.0] * n
    for index, place in zip(order, places, strict=True):
        result[index] = place
    return result
