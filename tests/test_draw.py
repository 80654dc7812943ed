"""Pictures, by their facts: what is drawn where."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.lines import Line2D

from monitord import series
from monitord.draw import style
from monitord.draw.lettering import number, spread
from monitord.draw.panel import Panel
from monitord.draw.sheet import Sheet
from monitord.draw.ticks import linear_ticks, log_ticks
from monitord.series import RunSeries
from monitord.static import write_static
from tests.drawn_runs import N_EPOCHS, blobs, colours_in, draw


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


def test_the_losses_of_a_run_that_diverged_stay_readable_on_a_logarithmic_axis() -> None:
    run = blobs()
    loss = run.values[series.TEST_LOSS].copy()
    loss[0] = 1e5 * loss[-1]
    panel = panel_of(
        draw(replace(run, values={**run.values, series.TEST_LOSS: loss})), "Scaled loss"
    )
    np.testing.assert_allclose(line_of(panel, series.TEST_LOSS).get_ydata(), np.log10(loss))


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
