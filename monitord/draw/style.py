"""How pictures look: colours, sizes, margins. All lengths in inches, all text in points."""

from __future__ import annotations

from typing import Any, Final

# Okabe and Ito's palette, told apart with every common kind of colour blindness. Yellow is left
# out: on white it cannot be read.
BLUE: Final = "#0072B2"
VERMILLION: Final = "#D55E00"
GREEN: Final = "#009E73"
ORANGE: Final = "#E69F00"
PURPLE: Final = "#CC79A7"
SKY: Final = "#56B4E9"
BLACK: Final = "#333333"
RUN_COLOURS: Final = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK)
# Beyond seven runs colours come again, with another dash: never with colour alone.
RUN_DASHES: Final[tuple[Any, ...]] = ("-", (0, (4, 1.6)), (0, (1.2, 1.2)))

INK: Final = "#222222"
NOTE: Final = "#6b6b6b"
FAINT: Final = "#a3a3a3"
CROWD: Final = "#c9c9c9"
GRID: Final = "#ececec"
FRAME: Final = "#8a8a8a"
ALARM: Final = "#c1121f"
PAPER: Final = "#ffffff"

STRONG_WIDTH: Final = 1.6
FAINT_WIDTH: Final = 1.0
CROWD_WIDTH: Final = 0.6
FRAME_WIDTH: Final = 0.7
MARK_WIDTH: Final = 0.9

TITLE_SIZE: Final = 12.0
SUBTITLE_SIZE: Final = 8.5
PANEL_TITLE_SIZE: Final = 9.0
TEXT_SIZE: Final = 7.5
TICK_SIZE: Final = 7.5
KEY_SIZE: Final = 8.0

DPI: Final = 130
SHEET_SIZE: Final = (10.0, 6.2)
MARGIN_LEFT: Final = 0.62
MARGIN_BOTTOM: Final = 0.5
HEADER: Final = 0.62
PANEL_HEADER: Final = 0.36
END_LABELS: Final = 1.12
ROW_GAP: Final = 0.16

# The bundled font first, so that a picture is the same everywhere; the others only lend glyphs.
FONT: Final = "DejaVu Sans"
GLYPH_LENDERS: Final = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "WenQuanYi Zen Hei",
    "PingFang SC",
    "Hiragino Sans",
)

# What drawing and saving read from matplotlib's settings, whatever the user's matplotlibrc says.
SETTINGS: Final[dict[str, Any]] = {
    "text.usetex": False,
    "text.parse_math": False,
    "text.hinting": "force_autohint",
    "text.antialiased": True,
    "path.simplify": True,
    "path.simplify_threshold": 1.0 / 9.0,
    "path.sketch": None,
    "path.effects": [],
    "path.snap": True,
    "lines.scale_dashes": True,
    "figure.autolayout": False,
    "figure.constrained_layout.use": False,
    "agg.path.chunksize": 0,
    "savefig.bbox": None,
    "svg.fonttype": "path",
    "svg.hashsalt": "blobwatch",
    "pdf.fonttype": 42,
}


def run_style(position: int) -> tuple[str, Any]:
    """Return the colour and the dash pattern of the run at ``position`` (from 0)."""
    n_colours = len(RUN_COLOURS)
    dash = RUN_DASHES[position // n_colours % len(RUN_DASHES)]
    return RUN_COLOURS[position % n_colours], dash
