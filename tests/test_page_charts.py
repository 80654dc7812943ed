"""Charts in a real Chromium: zoom, values under the pointer, extra series, many runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.monitord_trees import wait_for, write_results
from tests.page_browser import (
    a_browser,  # noqa: F401
    a_page,  # noqa: F401
    a_root,  # noqa: F401
    a_server,  # noqa: F401
    box_of,
    compare,
    entries,
    hover,
    loss_chart,
    loss_key,
    make_run,
    open_run,
    values_of,
    zoom,
)
from tests.page_server import Served, served

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.slow

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def shows_at(page: Page, chart: Any, share: float, text: str) -> None:
    hover(page, chart, share)
    chart.locator(".at", has_text=text).wait_for()


def test_a_zoom_outlives_other_scales_and_live_data_in_all_charts(
    page: Page, server: Served, root: Path
) -> None:
    open_run(page, server, "run_0")
    loss = loss_chart(page)
    counts = page.locator("figure.chart", has_text="Number of clusters")
    zoom(page, loss, 1.9 / 7, 5.1 / 7)  # epochs 3 to 6 of 8
    page.get_by_label("log y").check()
    page.locator("#smooth").fill("0.6")
    make_run(root, "run_0", 9)
    loss_key(page).locator(f"b[data-value='{entries(9)[-1]['train']['scaled_loss']}']").wait_for()
    for chart in (loss, counts):
        shows_at(page, chart, 0.0, "epoch 3")
        shows_at(page, chart, 1.0, "epoch 6")
    loss.get_by_text("reset zoom").click()
    for chart in (loss, counts):
        shows_at(page, chart, 1.0, "epoch 9")
    zoom(page, loss, 0.2, 0.6)
    page.locator("#axis").select_option("time")
    loss.get_by_text("reset zoom").wait_for(state="hidden")
    shows_at(page, counts, 1.0, "23 s")  # 9 epochs of 2.5 s, all of them


def test_arrow_keys_walk_over_the_part_that_is_shown(page: Page, server: Served) -> None:
    open_run(page, server, "run_0")
    loss = loss_chart(page)
    zoom(page, loss, 1.9 / 7, 5.1 / 7)
    page.mouse.move(2, 2)
    loss.focus()
    seen = []
    for key in [*["ArrowRight"] * 5, "Home", "End", "ArrowLeft"]:
        page.keyboard.press(key)
        seen.append(loss.locator(".at").inner_text())
    assert seen == [f"epoch {epoch}" for epoch in (3, 4, 5, 6, 6, 3, 6, 5)]


def test_each_of_ten_thousand_epochs_is_reached_by_the_arrow_keys(
    page: Page, tmp_path: Path
) -> None:
    write_results(tmp_path / "long", 10_000, status="completed")
    with served(tmp_path) as server:
        wait_for(lambda: server.json("/api/runs")["n_all"] == 1, "the run")
        open_run(page, server, "long")
        loss = loss_chart(page)
        loss.focus()
        page.keyboard.press("Home")
        for epoch in range(2, 6):
            page.keyboard.press("ArrowRight")
            loss.locator(".at", has_text=f"epoch {epoch}").wait_for()


def test_a_usual_series_is_added_when_it_appears_but_not_after_it_was_removed(
    page: Page, server: Served, root: Path
) -> None:
    early = [{k: v for k, v in each.items() if k != "diagnostics"} for each in entries(2)]
    write_results(root / "run_0", early, status="running", epochs=20)
    run_id = open_run(page, server, "run_0")
    page.locator(".extras figure", has_text="train.loss").wait_for()
    separation = page.locator(".extras figure", has_text="diagnostics.blob_separation")
    assert separation.count() == 0
    make_run(root, "run_0", 3)
    separation.locator(".u-over").wait_for()
    page.get_by_label("remove diagnostics.blob_separation").click()
    with page.expect_response(lambda answer: answer.url.endswith(f"/api/runs/{run_id}")):
        make_run(root, "run_0", 4)
    page.locator(".facts", has_text="4 of 20").wait_for()
    page.reload()
    page.locator(".extras figure", has_text="train.loss").wait_for()
    assert separation.count() == 0


def test_a_caption_keeps_its_height_while_values_are_read_and_parts_shown(
    page: Page, server: Served
) -> None:
    open_run(page, server, "run_0")
    loss = loss_chart(page)
    before = box_of(loss)
    hover(page, loss, 0.5)
    loss.locator(".at", has_text="epoch").wait_for()
    assert box_of(loss) == before
    zoom(page, loss, 0.2, 0.6)
    assert box_of(loss) == before
    extra = page.locator(".extras figure", has_text="train.loss")
    title, close = extra.locator("strong"), extra.get_by_label("remove train.loss")
    assert abs(middle(title) - middle(close)) < 6


def middle(element: Any) -> float:
    box = element.bounding_box()
    assert box is not None
    return float(box["y"] + box["height"] / 2)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (8.5, 12.3, [9, 10, 11, 12]),
        (0.8, 60, [1, 2, 5, 10, 20, 50]),
        (0.001, 1000, [0.001, 0.1, 10, 1000]),
    ],
)
def test_a_logarithmic_axis_has_ticks_however_small_its_range(
    page: Page, server: Served, low: float, high: float, ticks: list[float]
) -> None:
    page.goto(server.url)
    made = page.evaluate(
        "async ([low, high]) => (await import('/static/axes.js')).logTicks(low, high)", [low, high]
    )
    assert made == pytest.approx(ticks)


@pytest.mark.parametrize("log", [True, False])
def test_an_axis_has_ticks_however_large_its_values(page: Page, server: Served, log: bool) -> None:
    open_run(page, server, "run_0")
    ticks = page.evaluate(
        """async (log) => {
            const { axesOf, rangeOf } = await import("/static/axes.js");
            const y = { distr: log ? 3 : 1, range: (u, low, high) => rangeOf({ log }, low, high) };
            const scales = { x: { time: false }, y };
            const shown = { width: 300, height: 190, scales, axes: axesOf({ log }, {}) };
            const data = [[1, 2, 3], [5, 9e18, 2e17]];
            const made = new uPlot({ ...shown, series: [{}, {}] }, data, document.body);
            await new Promise((done) => setTimeout(done));
            return made.axes[1]._values;
        }""",
        log,
    )
    whole = ["0", "2e18", "4e18", "6e18", "8e18"]
    assert ticks == (["1", "10000", "1e8", "1e12", "1e16", "1e20"] if log else whole)
    near = page.evaluate(
        "async () => (await import('/static/axes.js')).roundTicks(1e20, 1e20 + 2e5)"
    )
    assert all(1e20 <= tick <= 1e20 + 2e5 for tick in near)


def test_the_curves_nearest_to_the_pointer_are_named_with_their_values(
    page: Page, server: Served, root: Path
) -> None:
    for seed in range(3, 10):
        make_run(root, f"run_{seed}", 8, seed)
    wait_for(lambda: server.json("/api/runs")["n_all"] == 10, "the runs")
    compare(page, server)
    loss = loss_chart(page)
    wait_for(lambda: loss.locator(".key", has_text="and 2 more").count(), "all curves")
    hover(page, loss, 3 / 7, 2)  # the upper end, at epoch 4
    truth = {entries(8, seed)[3]["test"]["scaled_loss"]: f"run_{seed}" for seed in range(10)}
    tip = loss.locator(".tip")
    tip.get_by_text("and 2 farther away").wait_for()
    highest = sorted(truth, reverse=True)[:8]
    assert values_of(tip) == highest
    assert tip.locator("bdi").all_inner_texts() == [truth[value] for value in highest]


def test_old_and_sampled_values_of_a_comparison_say_so(
    page: Page, server: Served, root: Path
) -> None:
    short = entries(5)
    for each in short:
        each["diagnostics"] = {"silhouette_score": 0.5, "n_clusters_dbscan": 2}
    write_results(root / "run_1", short, status="interrupted", epochs=20)
    compare(page, server)
    loss_key(page).locator(".item", has_text="at 5").wait_for()
    counts = page.locator("figure.chart", has_text="Number of clusters").locator(".key")
    assert counts.locator(".item").all_inner_texts() == ["3", "2\nsampled at 5", "3"]


def with_times(n_epochs: int, pause_s: float) -> list[dict[str, Any]]:
    """Return epochs that end every 10 s, but for a pause before the fourth."""
    timed = entries(n_epochs)
    for each in timed:
        at = 10 * each["epoch"] + (pause_s if each["epoch"] > 3 else 0)
        each["at"] = (BEGAN + timedelta(seconds=at)).isoformat()
    return timed


def test_wall_time_counts_pauses_and_grows_by_new_epochs_alone(page: Page, tmp_path: Path) -> None:
    fields = {"status": "running", "epochs": 20, "started_at": BEGAN.isoformat()}
    write_results(tmp_path / "run", with_times(5, 120), **fields)
    with served(tmp_path) as server:
        wait_for(lambda: server.json("/api/runs")["n_all"] == 1, "the run")
        open_run(page, server, "run")
        page.locator("#axis").select_option(label="wall time")
        loss = loss_chart(page)
        loss.focus()
        seen = []
        for key in ("Home", *["ArrowRight"] * 4):
            page.keyboard.press(key)
            seen.append(loss.locator(".at").inner_text())
        assert seen == ["10 s", "20 s", "30 s", "2 min 40 s", "2 min 50 s"]
        with page.expect_response(lambda answer: "name=at" in answer.url) as told:
            write_results(tmp_path / "run", with_times(6, 120), **fields)
        assert told.value.json()["epochs"] == [6]
        page.locator(".facts", has_text="6 of 20").wait_for()
        shows_at(page, loss, 1.0, "3 min")


def test_time_on_x_is_the_wall_clocks_where_recorded_and_else_says_what_it_is(
    page: Page, tmp_path: Path
) -> None:
    bare = [{k: v for k, v in each.items() if k != "timing"} for each in entries(4)]
    write_results(tmp_path / "bare", bare, status="completed")
    make_run(tmp_path, "timed", 4)
    with served(tmp_path) as server:
        wait_for(lambda: server.json("/api/runs")["n_all"] == 2, "the runs")
        open_run(page, server, "timed")
        page.locator("#axis").select_option(label="training time")
        shows_at(page, loss_chart(page), 1.0, "10 s")  # 4 epochs of 2.5 s
        compare(page, server)
        page.get_by_text("1 without recorded times left out").wait_for()
        loss_key(page).locator(".item").nth(1).wait_for(state="detached")
        write_results(tmp_path / "bare", with_times(4, 60), started_at=BEGAN.isoformat())
        page.get_by_text("1 without a clock by training time").wait_for()
        loss_key(page).locator(".item").nth(1).wait_for()
        shows_at(page, loss_chart(page), 1.0, "1 min 40 s")
        assert page.locator("#axis option:checked").inner_text() == "wall time"
        write_results(tmp_path / "bare", bare, status="completed")
        open_run(page, server, "bare")
        page.locator("#axis option[value=time]:disabled", has_text="not recorded").wait_for(
            state="attached"
        )
        assert page.locator("#axis").input_value() == "epoch"


def test_by_time_no_run_parts_the_curve_of_another_and_all_are_read_at_one_place(
    page: Page, tmp_path: Path
) -> None:
    for i, pause_s in enumerate((3, 5)):
        fields = {"status": "completed", "started_at": BEGAN.isoformat()}
        write_results(tmp_path / f"run_{i}", with_times(6, pause_s), **fields)
    with served(tmp_path) as server:
        wait_for(lambda: server.json("/api/runs")["n_all"] == 2, "the runs")
        compare(page, server)
        page.locator("#axis").select_option("time")
        loss_key(page).get_by_text("at 1 min 3 s").wait_for()
        loss = loss_chart(page)
        loss.focus()
        for key in ("Home", "ArrowRight", "ArrowRight", "ArrowRight"):
            page.keyboard.press(key)
        loss.locator(".at", has_text="43 s").wait_for()  # epoch 4 of the one, 3 of the other
        assert values_of(loss_key(page)) == [entries(4)[i]["test"]["scaled_loss"] for i in (3, 2)]
        columns = page.evaluate(
            "async () => (await import('/static/panels.js'))"
            ".joined([{x: [1, 3], values: [5, null]}, {x: [2], values: [7]}])"
            ".columns.map((c) => c.map((v) => v === undefined ? '' : v))"
        )
        assert columns == [[5, "", None], ["", 7, ""]]


def test_what_is_taken_away_from_a_comparison_is_drawn_as_the_page_draws_it(
    page: Page, server: Served
) -> None:
    compare(page, server)
    page.get_by_label("log y").check()
    page.locator("#smooth").fill("0.6")
    for kind in ("PNG", "SVG"):
        target = page.get_by_role("link", name=kind).get_attribute("href")
        assert target is not None and target.endswith("&log=1&smooth=0.60")
        assert server.ask(target)[0] == 200


def test_more_runs_than_are_compared_are_told(page: Page, tmp_path: Path) -> None:
    for i in range(62):
        write_results(tmp_path / f"run_{i:02}", 2, status="completed")
    with served(tmp_path) as server:
        wait_for(lambda: server.json("/api/runs")["n_all"] == 62, "the runs")
        compare(page, server)
        page.get_by_role("heading", name="Compare the first 60 of 62 runs").wait_for()
        page.get_by_label("remove run_00").click()
        page.get_by_role("heading", name="Compare the first 60 of 61 runs").wait_for()
        page.get_by_role("button", name="and 48 more").click()
        page.get_by_role("link", name="run_60").wait_for()
