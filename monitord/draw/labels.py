"""The texts of a panel as one artist, their pixels kept between pictures.

matplotlib lays out and renders every text anew at each drawing: two thirds of the time of a whole
picture, although nearly all of its texts were in the one before. On a pixel canvas the rendered
words come from a bounded cache here; SVG and PDF get ordinary text.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Literal

import numpy as np
from matplotlib import font_manager
from matplotlib.artist import Artist
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import RendererAgg, get_hinting_flag
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.text import Text
from matplotlib.transforms import IdentityTransform, Transform
from numpy.typing import NDArray

from monitord.draw import style
from monitord.draw.lettering import POINTS_PER_INCH, advance, font_families

# From the baseline to the middle of digits and small letters, in ems.
MIDDLE = 0.34
SHARE_LEFT = {"left": 0.0, "center": 0.5, "right": 1.0}
# About 10 kB each: a few pictures' worth of words, and bounded however long it runs.
N_CACHED = 512
N_GLYPHS = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """Words at a place.

    Attributes:
        words: One line, drawable as it is (`monitord.draw.lettering.printable`).
        place: Coordinates in ``at``.
        at: Transform from ``place`` to pixels.
        shift_in: Moved by this much, in inches.
        align: Which end of the words lies at the place; vertically it is always their middle.
    """

    words: str
    place: tuple[float, float]
    at: Transform
    size_pt: float = style.TEXT_SIZE
    colour: str = style.INK
    bold: bool = False
    shift_in: tuple[float, float] = (0.0, 0.0)
    align: Literal["left", "center", "right"] = "left"


class Labels(Artist):
    """All labels of a panel."""

    def __init__(self) -> None:
        """Make an artist without labels."""
        super().__init__()
        self.labels: list[Label] = []
        self.set_zorder(5.0)

    def draw(self, renderer: RendererBase) -> None:
        """Draw the labels: from kept pixels where the renderer makes pixels."""
        figure = self.get_figure(root=True)
        if not self.get_visible() or not isinstance(figure, Figure):
            return
        for label in self.labels:
            x, y = label.at.transform(label.place)
            x += label.shift_in[0] * figure.dpi
            y += label.shift_in[1] * figure.dpi
            y -= MIDDLE * label.size_pt / POINTS_PER_INCH * figure.dpi
            if isinstance(renderer, RendererAgg):
                _draw_pixels(renderer, label, float(x), float(y), figure.dpi)
            else:
                _draw_text(renderer, label, float(x), float(y), figure)


def _draw_pixels(renderer: RendererAgg, label: Label, x: float, y: float, dpi: float) -> None:
    """Put the kept pixels of ``label`` with its baseline at (``x``, ``y``)."""
    pixels, descent = _rendered(label.words, label.size_pt, label.bold, label.colour, dpi)
    left = round(x - SHARE_LEFT[label.align] * pixels.shape[1])
    context = renderer.new_gc()
    renderer.draw_image(context, left, round(y) - descent, pixels)
    context.restore()


def _draw_text(renderer: RendererBase, label: Label, x: float, y: float, figure: Figure) -> None:
    """Draw ``label`` as text, for formats that keep letters as letters or outlines."""
    text = _text(label.words, label.size_pt, label.bold, x, y)
    text.set_color(label.colour)
    text.set_horizontalalignment(label.align)
    text.set_figure(figure)
    text.draw(renderer)


@functools.lru_cache(maxsize=N_CACHED)
def _rendered(
    words: str, size_pt: float, bold: bool, colour: str, dpi: float
) -> tuple[NDArray[np.uint8], int]:
    """Return ``words`` as RGBA pixels, the lowest row first, and the rows below the baseline."""
    pen, placed = 0.0, []
    for character in words:
        opacity, left, descent = _glyph(character, size_pt, bold, dpi)
        placed.append((opacity, max(round(pen) + left, 0), descent))
        pen += _step(character, size_pt, bold, dpi)
    above = max((opacity.shape[0] - descent for opacity, _, descent in placed), default=1)
    below = max((descent for _, _, descent in placed), default=0)
    width = max((left + opacity.shape[1] for opacity, left, _ in placed), default=1)
    pixels = np.zeros((max(above + below, 1), max(width, 1), 4), dtype=np.uint8)
    for opacity, left, descent in placed:
        rows, columns = opacity.shape
        low = below - descent
        part = pixels[low : low + rows, left : left + columns, 3]
        np.maximum(part, opacity, out=part)
    pixels[..., :3] = np.round(np.array(to_rgb(colour)) * 255)
    return pixels, below


@functools.lru_cache(maxsize=N_GLYPHS)
def _step(character: str, size_pt: float, bold: bool, dpi: float) -> float:
    """Return how many pixels a character moves the pen, hinted as its picture is."""
    face = font_manager.get_font(font_manager.findfont(font(size_pt, bold)))
    if not face.get_char_index(ord(character)):
        return advance(character, bold) * size_pt / POINTS_PER_INCH * dpi
    face.set_size(size_pt, dpi)
    flags = get_hinting_flag()  # type: ignore[no-untyped-call]
    return float(face.load_char(ord(character), flags=flags).horiAdvance) / 64.0


@functools.lru_cache(maxsize=N_GLYPHS)
def _glyph(
    character: str, size_pt: float, bold: bool, dpi: float
) -> tuple[NDArray[np.uint8], int, int]:
    """Return a character's opacity, lowest row first, its left shift and rows below the baseline.

    Laying out whole words, as matplotlib does, takes over 2 ms a label, and a label that shows a
    new number is new at each drawing: half the time of a picture went there.
    """
    height = int(2.6 * size_pt / POINTS_PER_INCH * dpi) + 2
    baseline, left = height // 3, height
    canvas = RendererAgg(3 * height, height, dpi)  # type: ignore[no-untyped-call]
    text = _text(character, size_pt, bold, float(left), float(baseline))
    text.set_figure(Figure(figsize=(3 * height / dpi, height / dpi), dpi=dpi))
    text.draw(canvas)
    opacity = np.asarray(canvas.buffer_rgba())[::-1, :, 3]  # type: ignore[no-untyped-call]
    columns, rows = np.flatnonzero(opacity.any(axis=0)), np.flatnonzero(opacity.any(axis=1))
    if not columns.size:
        return np.zeros((0, 0), dtype=np.uint8), 0, 0
    inked = opacity[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].copy()
    return inked, int(columns[0]) - left, baseline - int(rows[0])


def _text(words: str, size_pt: float, bold: bool, x: float, y: float) -> Text:
    """Return matplotlib's text with its baseline at a pixel, untouched by the user's settings."""
    return Text(
        x,
        y,
        words,
        fontproperties=font(size_pt, bold),
        color="black",
        horizontalalignment="left",
        verticalalignment="baseline",
        transform=IdentityTransform(),
        parse_math=False,
        usetex=False,
    )


@functools.cache
def font(size_pt: float, bold: bool) -> FontProperties:
    """Return the project's font, independent of the user's settings."""
    return FontProperties(
        family=list(font_families()), size=size_pt, weight="bold" if bold else "normal"
    )
