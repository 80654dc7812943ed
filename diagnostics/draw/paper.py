"""How all pictures look, and how they reach the disk. Lengths in inches, text in points."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib
import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator
from numpy.typing import NDArray

from diagnostics.contract.atomic import write_atomic

INK: Final = "#222222"
NOTE: Final = "#6b6b6b"
FRAME: Final = "#8a8a8a"
GRID: Final = "#ececec"
FILL: Final = "#c9d6e2"
BLUE: Final = "#0072B2"
VERMILLION: Final = "#D55E00"
GREEN: Final = "#009E73"
PURPLE: Final = "#CC79A7"
ORANGE: Final = "#E69F00"
SKY: Final = "#56B4E9"
BLOB_COLOURS: Final = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY)
"""Okabe and Ito's palette, told apart with every common kind of colour blindness."""

ENCODER_LABEL: Final = "encoder weight  W₁[i, j]"
DECODER_LABEL: Final = "decoder weight  W₂[j, i]"
RAISED: Final = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

TITLE_SIZE: Final = 11.0
TEXT_SIZE: Final = 8.0
DPI: Final = 150
SETTINGS: Final[dict[str, Any]] = {
    "text.usetex": False,
    # Formulas cost a quarter of a picture's time, and a run may be called a$b$.
    "text.parse_math": False,
    "font.family": ["DejaVu Sans"],
    "font.size": TEXT_SIZE,
    "axes.linewidth": 0.7,
    "axes.edgecolor": FRAME,
    "axes.labelcolor": INK,
    "axes.labelsize": 9.0,
    "axes.unicode_minus": True,
    "text.color": INK,
    "xtick.color": FRAME,
    "ytick.color": FRAME,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": TEXT_SIZE,
    "ytick.labelsize": TEXT_SIZE,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.major.size": 3.0,
    "ytick.major.size": 3.0,
    "xtick.minor.size": 1.6,
    "ytick.minor.size": 1.6,
    "savefig.bbox": None,
    "figure.autolayout": False,
    "path.simplify": True,
}
"""What differs from matplotlib's own defaults."""


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Draw with our settings on top of matplotlib's defaults, whatever the user's file says."""
    with rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)  # type: ignore[arg-type]
        yield


def new_figure(width: float, height: float) -> Figure:
    """Return an empty white figure with a canvas of its own; pyplot is never involved."""
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def density_colours() -> ListedColormap:
    """Return the colour map of densities: from nearly paper for a lone pair to dark at the peak.

    It is matplotlib's ``magma`` reversed, whose lightness falls steadily (perceptually uniform),
    with its light end faded into the paper.
    """
    colours = matplotlib.colormaps["magma_r"](np.linspace(0.03, 0.96, 256))[:, :3]
    fade = np.clip(np.linspace(0.25, 256 / 40, 256), 0.0, 1.0)[:, None]
    return ListedColormap(1.0 - fade * (1.0 - colours))


def power_of_ten(value: float, _position: int | None = None) -> str:
    """Return a power of ten as text with a raised exponent; a tick formatter."""
    exponent = round(math.log10(value))
    return "1" if exponent == 0 else f"10{str(exponent).translate(RAISED)}"


def logarithmic(axis: Axis, ticks: Sequence[float] | None = None) -> None:
    """Give a logarithmic axis ticks at powers of ten, or at those given."""
    axis.set_major_locator(LogLocator(10) if ticks is None else FixedLocator(ticks))
    axis.set_major_formatter(FuncFormatter(power_of_ten))
    axis.set_minor_locator(NullLocator())


def label_weights(axis: Axis, label: str, ends: tuple[float, float]) -> None:
    """Label an axis of weights from one end to the other.

    Where their numbers would be long, the label takes the power of ten.
    """
    axis.set_label_text(label)
    largest = max(map(abs, ends))
    exponent = math.floor(math.log10(largest)) if largest else 0
    if -3 <= exponent <= 3:
        return
    unit = 10.0**exponent
    axis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{value / unit:.6g}".replace("-", "\N{MINUS SIGN}"))
    )
    axis.set_label_text(f"{label}  / {power_of_ten(unit)}")


def open_axes(axes: Axes) -> None:
    """Take away the frame's upper and right line."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def encode_picture(figure: Figure) -> bytes:
    """Return the figure as a PNG file."""
    buffer = io.BytesIO()
    with style():
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def pixels(figure: Figure) -> NDArray[np.uint8]:
    """Return the figure as pixels at its own resolution, uint8 of shape (height, width, 3)."""
    with style():
        canvas = FigureCanvasAgg(figure)
        canvas.draw()  # type: ignore[no-untyped-call]
        rgba = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    return np.ascontiguousarray(rgba[:, :, :3])


def write_picture(figure: Figure, path: Path) -> None:
    """Replace ``path`` by the figure as PNG; not synced, a picture can always be made again.

    Raises:
        OSError: The file cannot be written; an older one stays as it was.
    """
    write_atomic(path, encode_picture(figure), sync=False)
