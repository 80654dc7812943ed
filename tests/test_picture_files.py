"""Picture files: their bytes, and the names that stand in them."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from monitord.draw import style
from monitord.draw.canvas import encode_figure, encode_png
from monitord.draw.lettering import fitted, printable, told_apart, width_in
from monitord.draw.request import DrawOptions
from monitord.draw.sheet import Sheet
from monitord.static import write_static
from tests.drawn_runs import blobs, colours_in

SIZE = (1300, 806)


def test_a_png_has_its_size_its_colours_and_valid_checksums(tmp_path: Path) -> None:
    path = write_static([blobs()], tmp_path / "plot.png")
    data = path.read_bytes()
    offset, kinds = 8, []
    while offset < len(data):
        (length,) = struct.unpack_from(">I", data, offset)
        body = data[offset + 4 : offset + 8 + length]
        (crc,) = struct.unpack_from(">I", data, offset + 8 + length)
        assert crc == zlib.crc32(body)
        kinds.append(body[:4])
        offset += 12 + length
    assert kinds == [b"IHDR", b"pHYs", b"IDAT", b"IEND"]
    assert imread(path).shape[1::-1] == SIZE
    assert {style.BLUE.lower(), style.PAPER, style.INK} <= colours_in(path)


def test_png_pixels_come_back_exactly() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 4), dtype=np.uint8)
    back = imread(io.BytesIO(encode_png(pixels, 130)), format="png")
    np.testing.assert_array_equal(np.round(back * 255).astype(np.uint8), pixels)


@pytest.mark.parametrize("extension", ["png", "svg", "pdf"])
def test_a_picture_has_the_same_bytes_each_time_and_after_others(
    extension: str, tmp_path: Path
) -> None:
    fresh = write_static([blobs()], tmp_path / f"a.{extension}").read_bytes()
    used = Sheet()
    used.draw([blobs(3, name="other", restarts=(2,))] * 4, DrawOptions(overlay=True))
    used.draw([blobs()], DrawOptions(overview=True))
    assert encode_figure(used.draw([blobs()], DrawOptions()), extension) == fresh
    assert {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}[f".{extension}"] in fresh[:8]


HOSTILE = [
    "$x_1$",
    "$\\frac{",
    "a\nb\x00\x1b[31m\x7f",
    "n" * 255,
    "🚀 実験 ñ",
    "\udcff\u202e\u200d",
    "</svg>&lt;]]>",
    "",
]


@pytest.mark.parametrize("name", [*HOSTILE, "".join(HOSTILE)])
@pytest.mark.parametrize("extension", ["png", "svg"])
def test_a_hostile_name_is_only_text(name: str, extension: str, tmp_path: Path) -> None:
    run = blobs(name=name, diagnostics_missing=name)
    for options in (DrawOptions(), DrawOptions(overview=True), DrawOptions(metrics=(name,))):
        data = encode_figure(Sheet().draw([run], options), extension)
        assert len(data) > 2000
        if extension == "svg":
            assert is_svg(data)


def test_all_hostile_names_in_one_pdf_are_only_text() -> None:
    runs = [blobs(2, name=name) for name in HOSTILE]
    data = encode_figure(Sheet().draw(runs, DrawOptions(overlay=True)), "pdf")
    assert data.startswith(b"%PDF") and data.rstrip().endswith(b"%%EOF")


def is_svg(data: bytes) -> bool:
    """Say whether ``data`` is well-formed XML."""
    from xml.etree import ElementTree

    return ElementTree.fromstring(data).tag.endswith("svg")


def test_names_become_printable_and_fit() -> None:
    assert printable("a\n\tb\x00") == "a b"
    assert printable("\udcff") == "□"
    shortened = fitted("start_" + "x" * 255 + "_end", 2.0, 8.0)
    assert width_in(shortened, 8.0) <= 2.0
    assert shortened.startswith("start_") and shortened.endswith("_end")
    names = [f"sweep_lr{i}_seed7_2026" for i in (1, 2)]
    assert told_apart(names, 0.5, 8.0) == ["lr1", "lr2"]
    assert told_apart(names, 9.0, 8.0) == names


def test_an_extension_or_a_smoothing_that_is_not_known_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"plot\.bmp: extension '\.bmp'.*\.png, \.svg, \.pdf"):
        write_static([blobs()], tmp_path / "plot.bmp")
    with pytest.raises(ValueError, match=r"smooth: 1\.0"):
        write_static([blobs()], tmp_path / "plot.png", smooth=1.0)
    assert list(tmp_path.iterdir()) == []


def test_a_picture_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_static([blobs()], tmp_path / "missing" / "plot.png")
    old = write_static([blobs()], tmp_path / "plot.png").read_bytes()
    write_static([blobs(name="other")], tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes() != old
    assert [path.name for path in tmp_path.iterdir()] == ["plot.png"]


def test_the_users_matplotlibrc_does_not_change_a_picture(tmp_path: Path) -> None:
    write_static([blobs()], tmp_path / "mine.png")
    (tmp_path / "matplotlibrc").write_text(
        "text.usetex: True\nfont.family: serif\nlines.linewidth: 9\naxes.grid: True\n"
        "figure.dpi: 50\nfigure.autolayout: True\nlines.marker: x\npath.sketch: 2, 20, 2\n"
        "figure.facecolor: red\naxes.titlecolor: green\nlines.dashed_pattern: 9, 9\n"
    )
    code = (
        "import test_draw, pathlib; from monitord.static import write_static;"
        f"write_static([test_draw.blobs()], pathlib.Path({str(tmp_path / 'theirs.png')!r}))"
    )
    tests = Path(__file__).parent
    subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": f"{tests}:{tests.parent}", "MATPLOTLIBRC": str(tmp_path)},
    )
    assert (tmp_path / "mine.png").read_bytes() == (tmp_path / "theirs.png").read_bytes()


def test_pyplot_is_never_imported_and_matplotlib_only_for_drawing(tmp_path: Path) -> None:
    code = (
        "import sys, monitord, monitord.static, monitord.window, monitord.draw.renderer;"
        "assert 'matplotlib' not in sys.modules;"
        "import monitord.draw.sheet, monitord.draw.canvas, monitord.draw.worker;"
        "assert 'matplotlib' in sys.modules and 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=Path(__file__).resolve().parents[1]
    )
