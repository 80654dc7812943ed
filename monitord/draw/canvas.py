"""From a figure to a file: PNG, SVG and PDF, the same bytes each time, replaced atomically."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from diagnostics.contract.atomic import open_atomic
from monitord.draw.request import picture_format
from monitord.draw.style import SETTINGS

METRES_PER_INCH: Final = 0.0254
# Filter type "Up" of the PNG specification: each row is stored as its difference to the one above.
FILTER_UP: Final = 2


@contextlib.contextmanager
def own_settings() -> Iterator[None]:
    """Draw or save under the project's settings of matplotlib, leaving the user's as they are."""
    with rc_context(SETTINGS):  # type: ignore[arg-type]
        yield


def encode_figure(figure: Figure, extension: str) -> bytes:
    """Return the picture of ``figure`` as the bytes of a png, svg or pdf file.

    The bytes depend on the figure alone: no date, no random identifiers.
    """
    with own_settings():
        if extension == "png":
            canvas = figure.canvas
            if not isinstance(canvas, FigureCanvasAgg):
                canvas = FigureCanvasAgg(figure)
            canvas.draw()  # type: ignore[no-untyped-call]
            pixels = canvas.buffer_rgba()  # type: ignore[no-untyped-call]
            return encode_png(np.asarray(pixels), figure.dpi)
        buffer = io.BytesIO()
        dates = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}[extension]
        figure.savefig(buffer, format=extension, metadata=dates)
        return buffer.getvalue()


def encode_png(pixels: NDArray[np.uint8], dpi: float) -> bytes:
    """Return RGBA ``pixels`` of shape (height, width, 4) as a PNG file.

    Line drawings are mostly rows equal to the one above. Storing differences and letting zlib look
    for runs alone takes half the time of Pillow's adaptive filters, and makes a smaller file.
    """
    height, width = pixels.shape[:2]
    rows = pixels.reshape(height, 4 * width)
    filtered = np.empty((height, 1 + 4 * width), dtype=np.uint8)
    filtered[:, 0] = FILTER_UP
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    deflate = zlib.compressobj(6, zlib.DEFLATED, 15, 9, zlib.Z_RLE)
    data = deflate.compress(filtered.data) + deflate.flush()
    pixels_per_metre = round(dpi / METRES_PER_INCH)
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)),
            _chunk(b"pHYs", struct.pack(">IIB", pixels_per_metre, pixels_per_metre, 1)),
            _chunk(b"IDAT", data),
            _chunk(b"IEND", b""),
        )
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    """Return one chunk of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def write_figure(figure: Figure, output: Path) -> None:
    """Replace ``output`` by the picture of ``figure``, in the format of its extension.

    The file is not fsynced: a picture can always be made again, and waiting for the disk would
    cost more than drawing.

    Raises:
        ValueError: The extension is none of png, svg, pdf.
        OSError: The file cannot be written; an older one stays as it was.
    """
    data = encode_figure(figure, picture_format(output))
    with open_atomic(output, sync=False) as file:
        file.write(data)
