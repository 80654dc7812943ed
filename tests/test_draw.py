"""Pictures, by their facts: what is drawn where, in which bytes, from which names."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread
from matplotlib.lines import Line2D

from monitord import series
from monitord.draw import style
from monitord.draw.canvas import encode_figure, encode_png
from monitord.draw.lettering import fitted, number, printable, spread, told_apart, width_in
from monitord.draw.panel import Panel
from monitord.draw.request import DrawOptions
from monitord.draw.sheet import Sheet
from monitord.draw.ticks import linear_ticks, log_ticks
from monitord.series import RunSeries
from monitord.static import write_static

N_EPOCHS = 20
SIZE = (1300, 806)


def blobs(n: int = N_EPOCHS, **changes: Any) -> RunSeries:
    """Return a run that forms three blobs at epoch 10, which the sampled detector never sees."""
    epochs = np.arange(1.0, n + 1)
    late = epochs >= 10
    loss = 9 + 161 * np.exp(-(epochs - 1) / 3)
    values = {
        series.TEST_LOSS: loss,
        series.TRAIN_LOSS: loss * 1.1,
        series.BLOB_COUNT: np.where(late, 3.0, 1.0),
        series.SAMPLED_COUNT: np.ones(n),
        series.BLOB_SILHOUETTE: np.where(late, 0.9, np.nan),
        series.SAMPLED_SILHOUETTE: np.full(n, np.nan),
        series.BLOB_CORRELATION: -0.01 * epochs,
        series.SAMPLED_CORRELATION: -0.02 * epochs,
        series.SEPARATION: np.where(late, 0.95, 0.1),
    }
    run = RunSeries(name="quick", epochs=epochs, values=values, n_planned=20, born=10)
    return replace(run, **changes)


def draw(*runs: RunSeries, **options: Any) -> Sheet:
    """Return a sheet with ``runs`` drawn, checked to be drawable."""
    sheet = Sheet()
    encode_figure(sheet.draw(runs, DrawOptions(**options)), "png")
    return sheet


def panel_of(sheet: Sheet, title: str) -> Panel:
    """Return the first visible panel with this title."""
    for panel in sheet.panels:
        if panel.axes.get_visible() and title in words_of(panel):
            return panel
    raise AssertionError(f"no panel {title!r} among {[words_of(each) for each in sheet.panels]}")


def words_of(panel: Panel) -> list[str]:
    return [label.words for label in panel.labels.labels]


def line_of(panel: Panel, label: str) -> Line2D:
    """Return the line of a series."""
    (line,) = [line for line in panel.axes.lines if line.get_label() == label]
    return line


def colours_in(path: Path) -> set[str]:
    """Return the colours of all pixels of a picture."""
    red, green, blue = np.moveaxis(np.round(imread(path)[..., :3] * 255).astype(np.uint32), -1, 0)
    return {f"#{colour:06x}" for colour in np.unique(red << 16 | green << 8 | blue)}


def test_the_four_panels_of_the_guide_are_there_in_its_order() -> None:
    sheet = draw(blobs())
    places = {}
    for title in ("Silhouette score", "Number of clusters", "Weight correlation", "Scaled loss"):
        box = panel_of(sheet, title).axes.get_position()
        places[title] = ("left" if box.x0 < 0.5 else "right", "top" if box.y0 > 0.5 else "bottom")
    assert list(places.values()) == [
        ("left", "top"),
        ("right", "top"),
        ("left", "bottom"),
        ("right", "bottom"),
    ]


def test_all_pairs_are_strong_and_the_sample_is_faint_and_both_are_labelled() -> None:
    panel = panel_of(draw(blobs()), "Weight correlation")
    strong = line_of(panel, series.BLOB_CORRELATION)
    faint = line_of(panel, series.SAMPLED_CORRELATION)
    assert strong.get_linewidth() > faint.get_linewidth()
    assert strong.get_zorder() > faint.get_zorder()
    np.testing.assert_array_equal(strong.get_ydata(), -0.01 * np.arange(1, 21))
    assert {"\u22120.200 all pairs", "\u22120.400 sampled"} <= set(words_of(panel))


def test_cluster_counts_are_steps_with_integer_ticks() -> None:
    panel = panel_of(draw(blobs()), "Number of clusters")
    assert line_of(panel, series.BLOB_COUNT).get_drawstyle() == "steps-post"
    assert {"0", "1", "2", "3"} <= set(words_of(panel))


def test_a_sample_that_never_had_a_value_is_said_not_left_out() -> None:
    assert "sampled: fewer than two clusters" in words_of(
        panel_of(draw(blobs()), "Silhouette score")
    )


def test_a_sample_without_all_pairs_is_drawn_strong() -> None:
    run = blobs()
    values = {k: v for k, v in run.values.items() if k != series.BLOB_CORRELATION}
    panel = panel_of(draw(replace(run, values=values)), "Weight correlation")
    line = line_of(panel, series.SAMPLED_CORRELATION)
    assert line.get_color() == style.BLUE and line.get_linewidth() == style.STRONG_WIDTH


def test_birth_and_restarts_are_marked_at_their_epochs() -> None:
    sheet = draw(blobs(restarts=(5, 15)))
    for title in ("Silhouette score", "Number of clusters", "Weight correlation", "Scaled loss"):
        upright = {
            line.get_xdata()[0]: line.get_color()
            for line in panel_of(sheet, title).axes.lines
            if len(line.get_xdata()) == 2 and line.get_xdata()[0] == line.get_xdata()[1]
        }
        assert upright == {10: style.GREEN, 5: style.NOTE, 15: style.NOTE}
    assert "blobs born, epoch 10" in words_of(panel_of(sheet, "Number of clusters"))
    assert words_of(panel_of(sheet, "Scaled loss")).count("restart") == 2


def test_missing_values_are_gaps_and_a_value_between_two_gaps_is_a_dot() -> None:
    run = blobs()
    loss = run.values[series.TEST_LOSS].copy()
    loss[[4, 6]] = np.nan
    run = replace(run, values={**run.values, series.TEST_LOSS: loss})
    panel = panel_of(draw(run), "Scaled loss")
    np.testing.assert_array_equal(line_of(panel, series.TEST_LOSS).get_ydata(), loss)
    dots = [line for line in panel.axes.lines if line.get_marker() == "o"]
    assert [list(line.get_xdata()) for line in dots] == [[6.0]]


def test_non_finite_epochs_have_red_ticks_and_are_counted(tmp_path: Path) -> None:
    run = blobs()
    loss, flags = run.values[series.TEST_LOSS].copy(), np.zeros(N_EPOCHS, dtype=bool)
    flags[14:] = True
    loss[flags] = np.nan
    run = replace(
        run,
        values={**run.values, series.TEST_LOSS: loss},
        nonfinite={series.TEST_LOSS: flags},
    )
    assert "NaN from epoch 15" in words_of(panel_of(draw(run), "Scaled loss"))
    assert style.ALARM in colours_in(write_static([run], tmp_path / "a.png"))
    assert style.ALARM not in colours_in(write_static([blobs()], tmp_path / "b.png"))


def test_no_diagnostics_available_is_said_with_the_reason_in_three_panels() -> None:
    run = blobs()
    losses = {name: run.values[name] for name in (series.TEST_LOSS, series.TRAIN_LOSS)}
    reason = "enable_diagnostics is false"
    sheet = draw(replace(run, values=losses, diagnostics_missing=reason, born=None))
    said = [panel for panel in sheet.panels if "No diagnostics available" in words_of(panel)]
    assert len(said) == 3
    assert all(reason in words_of(panel) for panel in said)
    assert line_of(panel_of(sheet, "Scaled loss"), series.TEST_LOSS).get_ydata()[0] == 170.0


@pytest.mark.parametrize("n", [0, 1, 2])
def test_a_run_with_hardly_any_epoch_is_drawn(n: int) -> None:
    sheet = draw(blobs(n, born=None))
    panel = panel_of(sheet, "Scaled loss")
    assert ("No epoch yet" in words_of(panel)) == (n == 0)
    if n == 1:
        assert any(line.get_marker() == "o" for line in panel.axes.lines)
        assert words_of(panel).count("1") == 1


@pytest.mark.parametrize("value", [1.7e308, -1.7e308, 5e-324, 0.0])
def test_the_largest_and_the_smallest_floats_are_drawn(value: float) -> None:
    run = blobs()
    loss = run.values[series.TEST_LOSS].copy()
    loss[3] = value
    for options in ({}, {"log_y": True}, {"smooth": 0.5}, {"overview": True}):
        draw(replace(run, values={**run.values, series.TEST_LOSS: loss}), **options)


def test_log_y_draws_decimal_logarithms_and_labels_values() -> None:
    panel = panel_of(draw(blobs(), log_y=True), "Scaled loss")
    drawn = line_of(panel, series.TEST_LOSS).get_ydata()
    np.testing.assert_allclose(drawn, np.log10(blobs().values[series.TEST_LOSS]))
    assert {"10", "100", "9.29 test"} <= set(words_of(panel))


def test_log_y_stays_linear_where_a_value_is_not_above_zero() -> None:
    run = blobs()
    loss = run.values[series.TEST_LOSS] - 50.0
    panel = panel_of(
        draw(replace(run, values={**run.values, series.TEST_LOSS: loss}), log_y=True),
        "Scaled loss",
    )
    np.testing.assert_array_equal(line_of(panel, series.TEST_LOSS).get_ydata(), loss)


def test_smoothing_keeps_the_raw_curve_faint() -> None:
    panel = panel_of(draw(blobs(), smooth=0.6), "Scaled loss")
    raw = line_of(panel, f"{series.TEST_LOSS} (raw)")
    np.testing.assert_array_equal(raw.get_ydata(), blobs().values[series.TEST_LOSS])
    smooth = line_of(panel, series.TEST_LOSS)
    assert (raw.get_alpha() or 1) < 0.5 < (smooth.get_alpha() or 1)
    assert smooth.get_ydata()[1] > raw.get_ydata()[1]


def test_any_series_can_be_chosen_and_an_unknown_one_is_named() -> None:
    sheet = draw(blobs(), metrics=(series.SEPARATION, "theirs.kappa"))
    line_of(panel_of(sheet, series.SEPARATION), series.SEPARATION)
    assert "No such series" in words_of(panel_of(sheet, "theirs.kappa"))


def test_an_overlay_draws_each_run_in_a_look_of_its_own_and_names_it() -> None:
    runs = [
        blobs(name=f"sweep_lr{index}", values={series.TEST_LOSS: np.full(20, 9.0 + index)})
        for index in range(12)
    ]
    sheet = draw(*runs, overlay=True)
    panel = panel_of(sheet, "Scaled loss")
    lines = [line for line in panel.axes.lines if line.get_label() == series.TEST_LOSS]
    assert len({(line.get_color(), line.is_dashed()) for line in lines}) == 12
    assert {run.name for run in runs} <= set(words_of(panel_of(sheet, "best loss")))


def test_many_runs_without_overlay_have_a_row_each() -> None:
    sheet = draw(blobs(name="one"), blobs(name="two"))
    titles = [words for panel in sheet.panels for words in words_of(panel)]
    assert titles.count("Scaled loss") == 2 and {"one", "two"} <= set(titles)


def test_the_overview_names_the_best_counts_the_rest_and_survives_a_diverged_run() -> None:
    runs = [blobs(name=f"run{i:03d}") for i in range(300)]
    for i, run in enumerate(runs):
        runs[i] = replace(
            run, values={**run.values, series.TEST_LOSS: run.values[series.TEST_LOSS] + i}
        )
    huge = {**runs[9].values, series.TEST_LOSS: runs[9].values[series.TEST_LOSS] * 1e30}
    runs[9] = replace(runs[9], values=huge)
    sheet = draw(*runs, overview=True)
    panel = panel_of(sheet, "Test loss")
    words = words_of(panel)
    named = [w.split()[-1] for w in words if "run0" in w]
    assert named == [f"run{i:03d}" for i in range(6, -1, -1)]
    assert "1 run leaves the top" in words
    assert panel.axes.get_ylim()[1] < 10
    notes = [w for each in sheet.panels for w in words_of(each)]
    assert any("best 24 shown, 276 more not" in w for w in notes)


def test_two_diverged_runs_of_eight_do_not_flatten_the_others_in_the_overview() -> None:
    runs = [blobs(name=f"run{i}") for i in range(8)]
    for i in (3, 5):
        loss = runs[i].values[series.TEST_LOSS] * 1e5
        runs[i] = replace(runs[i], values={**runs[i].values, series.TEST_LOSS: loss})
    panel = panel_of(draw(*runs, overview=True), "Test loss")
    assert "2 runs leave the top" in words_of(panel)
    good = max(runs[0].values[series.TEST_LOSS])
    assert panel.axes.get_ylim()[1] < 2 * good


def test_line_end_labels_of_the_overview_never_overlap() -> None:
    runs = [blobs(name=f"run{i}") for i in range(7)]
    panel = panel_of(draw(*runs, overview=True), "Test loss")
    ends = [label for label in panel.labels.labels if "run" in label.words]
    heights = sorted(label.place[1] * panel.size_in[1] for label in ends)
    assert len(heights) == 7
    assert np.diff(heights).min() > style.TEXT_SIZE / 72.0


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


def test_labels_are_spread_in_order_within_their_bounds() -> None:
    places = spread([0.5, 0.5, 0.51, 0.99], 0.1, 0.0, 1.0)
    assert np.diff(places).min() >= 0.1 - 1e-12
    assert places == sorted(places) and places[-1] <= 1.0
    crowded = spread([0.5] * 50, 0.1, 0.0, 1.0)
    assert min(crowded) >= -1e-9 and max(crowded) <= 1 + 1e-9


def test_numbers_and_ticks_are_short_and_right() -> None:
    assert [number(v) for v in (8.8512, 170, 0.00312, 5.2e7, -0.25)] == [
        "8.85",
        "170",
        "0.00312",
        "5.2e7",
        "\u22120.250",
    ]
    assert [text for _, text in linear_ticks(0, 100_000, 6)] == [
        "0",
        "20k",
        "40k",
        "60k",
        "80k",
        "100k",
    ]
    assert [text for _, text in linear_ticks(0, 3.2, 6, integers=True)] == ["0", "1", "2", "3"]
    assert [text for _, text in log_ticks(0.9, 2.3, 6)] == ["10", "20", "50", "100"]
    assert [text for _, text in log_ticks(-8, 30, 5)][-1] == "1e24"


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


def test_stage_two_gets_a_panel_with_each_trace_over_its_own_epochs_and_stage_ones_end() -> None:
    traces = {
        f"trace{number}": RunSeries(
            name=f"trace {number}",
            epochs=np.arange(1.0, 5.0),
            values={series.TEST_LOSS: np.array([40.0, 20.0, 12.0, 10.0 + number])},
        )
        for number in range(2)
    }
    run = blobs(traces=traces)
    panel = panel_of(draw(run), "Stage two, test loss")
    assert line_of(panel, "trace 1").get_xydata()[-1].tolist() == [4.0, 11.0]  # type: ignore[index]
    words = words_of(panel)
    assert {"10 trace 0", "11 trace 1"} <= set(words)
    assert any("stage one" in text for text in words)
    with pytest.raises(AssertionError, match="no panel"):
        panel_of(draw(blobs()), "Stage two, test loss")
    chosen = panel_of(draw(run, metrics=("trace1.test.scaled_loss",)), "trace1.test.scaled_loss")
    assert line_of(chosen, series.TEST_LOSS).get_xydata()[-1].tolist() == [4.0, 11.0]  # type: ignore[index]
