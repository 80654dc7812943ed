"""The page in a real Chromium, as a user sees it."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from diagnostics.contract.density import build_density
from diagnostics.contract.density_archive import ArchiveWriter
from tests.monitord_trees import wait_for, write_results
from tests.page_browser import (
    PATIENCE_MS,
    a_browser,  # noqa: F401
    a_page,  # noqa: F401
    a_root,  # noqa: F401
    a_server,  # noqa: F401
    another_picture,
    entries,
    loss_key,
    make_run,
    open_run,
    picture,
    row,
    values_of,
)
from tests.page_server import Served, served

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

HOSTILE = ("<img src=x onerror=window.hacked=1>", "\"'><script>window.hacked=1</script>", "a\x1bb")
EVIL = "<b onmouseover=window.hacked=1>"

pytestmark = pytest.mark.slow


def test_an_epoch_that_lands_is_seen_without_a_reload(
    page: Page, server: Served, root: Path
) -> None:
    page.goto(server.url)
    row(page, "run_1").locator(".epoch", has_text="8/20").wait_for()
    make_run(root, "run_1", 9, 1)
    row(page, "run_1").locator(".epoch", has_text="9/20").wait_for()
    make_run(root, "run_3", 2, 3)
    row(page, "run_3").wait_for()
    assert page.locator("#filter-note").inner_text() == "4 runs"


def test_the_charts_of_a_run_follow_and_only_the_new_epoch_travels(
    page: Page, server: Served, root: Path
) -> None:
    answers: list[Any] = []
    page.on("response", lambda answer: answers.append(answer))
    open_run(page, server, "run_0")
    make_run(root, "run_0", 9)
    truth = entries(9)[-1]
    shown = loss_key(page).locator(f"b[data-value='{truth['test']['scaled_loss']}']")
    shown.wait_for()
    series = [one for one in answers if "/series" in one.url and "n_clusters_dbscan" in one.url]
    parts = [len(one.json()["epochs"]) for one in series]
    assert parts[0] == 8 and sum(parts) == 9


def test_hovering_tells_the_values_of_the_file(page: Page, server: Served, root: Path) -> None:
    open_run(page, server, "run_2")
    chart = page.locator("figure.chart", has_text="Scaled loss")
    over = chart.locator(".u-over")
    box = over.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 3 / 7, box["y"] + 40)  # epoch 4 of 1 to 8
    chart.locator(".at", has_text="epoch 4").wait_for()
    truth = json.loads((root / "run_2" / "results.json").read_text())["training_history"][3]
    assert values_of(loss_key(page)) == [
        truth["test"]["scaled_loss"],
        truth["train"]["scaled_loss"],
    ]
    chart.focus()
    page.keyboard.press("ArrowRight")
    chart.locator(".at", has_text="epoch 5").wait_for()


def test_zoom_smoothing_logarithm_and_time_change_what_is_drawn(page: Page, server: Served) -> None:
    open_run(page, server, "run_0")
    over = page.locator("figure.chart", has_text="Scaled loss").locator(".u-over")
    box = over.bounding_box()
    assert box is not None
    before = picture(page)
    for change in (
        lambda: page.get_by_label("log y").check(),
        lambda: page.locator("#smooth").fill("0.6"),
        lambda: page.locator("#axis").select_option("time"),
    ):
        change()
        before = another_picture(page, before)
    page.mouse.move(box["x"] + 20, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + 150, box["y"] + 60, steps=4)
    page.mouse.up()
    page.locator("figure.chart", has_text="Scaled loss").get_by_text("reset zoom").click()
    # kept for the next time
    page.reload()
    page.wait_for_selector(".u-over")
    assert (
        page.locator("#smooth").input_value() == "0.6" and page.get_by_label("log y").is_checked()
    )


def test_selected_runs_are_overlaid_and_seeds_become_mean_and_band(
    page: Page, server: Served
) -> None:
    page.goto(server.url)
    for seed in range(3):
        page.get_by_label(f"select run_{seed}").check()
    page.keyboard.press("c")
    page.wait_for_selector(".u-over")
    loss = page.locator("figure.chart", has_text="Scaled loss")
    assert loss.locator(".key .item").count() == 3
    table = page.get_by_role("region", name="Differences of configuration")
    assert table.locator("tbody tr").all_inner_texts() == ["data.seed\t0\t1\t2"]
    page.get_by_label("seeds as mean and band").check()
    loss.locator(".key .item").nth(1).wait_for(state="detached")
    mean = sum(entries(8, seed)[-1]["test"]["scaled_loss"] for seed in range(3)) / 3
    assert values_of(loss.locator(".key")) == pytest.approx([mean])


def test_a_restart_of_the_server_is_told_and_overcome_without_a_reload(
    page: Page, server: Served, root: Path
) -> None:
    open_run(page, server, "run_0")
    page.evaluate("window.same = true")
    server.stop(signal.SIGKILL)
    page.locator("#banner", has_text="Connection lost").wait_for()
    make_run(root, "run_0", 11)
    with served(root, port=server.port) as again:
        assert again.token == server.token
        page.locator("#banner").wait_for(state="hidden")
        truth = entries(11)[-1]["test"]["scaled_loss"]
        loss_key(page).locator(f"b[data-value='{truth}']").wait_for()
        assert page.evaluate("window.same") is True
        figure = page.locator("figure.chart", has_text="Scaled loss")
        figure.focus()
        page.keyboard.press("Home")
        seen = []
        for _ in range(11):
            seen.append(figure.locator(".at").inner_text())
            page.keyboard.press("ArrowRight")
        assert seen == [f"epoch {epoch}" for epoch in range(1, 12)]  # none lost, none twice


def test_names_and_values_with_markup_stay_text_everywhere(page: Page, tmp_path: Path) -> None:
    root = tmp_path / "hostile"
    for i, name in enumerate(HOSTILE):
        folder = make_run(root, f"run_{i}", 6, i, status="failed", status_reason=EVIL)
        folder.rename(root / name.replace("/", "\u2215"))
    config = {"training": {EVIL: EVIL}, "data": {"seed": 1}}
    late = entries(6)
    late[-1]["diagnostics"][EVIL] = 1.0
    folder = write_results(root / "evil..", late, status="failed", environment={EVIL: EVIL})
    (folder / "config.json").write_text(json.dumps(config))
    with served(root) as server:
        wait_for(lambda: server.json("/api/runs")["n_all"] == 4, "the runs")
        page.goto(server.url)
        row(page, "evil..").wait_for()
        page.get_by_role("link", name=HOSTILE[0]).wait_for()
        open_run(page, server, "evil..")
        page.locator(".side").get_by_text(EVIL).first.wait_for()
        page.locator("#series").select_option(f"diagnostics.{EVIL}")
        page.locator(".extras figure", has_text=EVIL).wait_for()
        page.goto(server.url)
        row(page, "evil..").wait_for()
        for box in page.locator("tbody input").all():
            box.check()
        page.keyboard.press("c")
        page.wait_for_selector(".u-over")
        page.get_by_role("region", name="How they stand").wait_for()
        assert page.evaluate("window.hacked") is None
        assert page.locator("main img, main script, main b[onmouseover]").count() == 0


def test_without_the_token_the_page_asks_for_it(page: Page, server: Served) -> None:
    page.goto(f"http://127.0.0.1:{server.port}/")
    page.get_by_role("heading", name="A token is needed").wait_for()
    page.get_by_label("Token").fill(server.token)
    page.get_by_role("button", name="Open").click()
    row(page, "run_0").wait_for()
    assert server.token not in page.url and page.evaluate("document.cookie") == ""


def test_the_keyboard_alone_finds_opens_selects_and_compares(page: Page, server: Served) -> None:
    page.goto(server.url)
    row(page, "run_0").wait_for()
    page.keyboard.press("/")
    page.keyboard.type("run_2")
    page.locator("#filter-note", has_text="1 of 3 runs").wait_for()
    page.keyboard.press("Enter")
    page.keyboard.press("x")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="run_2").wait_for()
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    page.keyboard.press("Escape")
    page.locator("#filter-note", has_text=re.compile("^3 runs$")).wait_for()
    page.keyboard.press("Escape")
    for key in ("Home", "x", "c"):
        page.keyboard.press(key)
    page.get_by_role("heading", name="Compare 2 runs").wait_for()


def test_what_is_typed_after_a_slash_belongs_to_the_search_from_a_runs_page_too(
    page: Page, server: Served
) -> None:
    open_run(page, server, "run_0")
    page.keyboard.type("/run_1 x", delay=0)
    page.locator("#filter-note", has_text="of 3 runs").wait_for()
    assert page.locator("#search").input_value() == "run_1 x"
    assert page.locator("#search:focus").count() == 1


def test_a_wrong_filter_says_what_is_wrong_and_the_rows_stay(page: Page, server: Served) -> None:
    page.goto(server.url)
    row(page, "run_0").wait_for()
    page.locator("#search").fill("learning_rte=0.02")
    page.locator("#filter-note", has_text="did you mean learning_rate").wait_for()
    assert page.locator("tbody tr[id]").count() == 3


def archive(folder: Path, n_epochs: int) -> None:
    """Keep density pictures of a run's first epochs."""
    writer = ArchiveWriter(folder)
    for epoch in range(1, n_epochs + 1):
        random = np.random.default_rng(epoch)
        weights = random.normal(size=(32, 64)), random.normal(size=(64, 32))
        writer.add(epoch, build_density(*weights))
    writer.close()


def test_the_slider_shows_the_cloud_of_each_epoch(page: Page, server: Served, root: Path) -> None:
    archive(root / "run_1", 3)
    open_run(page, server, "run_1")
    cloud = page.locator(".density canvas")
    cloud.wait_for()
    last = page.locator(".density output", has_text="epoch 3")
    last.wait_for()
    shown = {cloud.evaluate("c => c.toDataURL()")}
    for epoch in (2, 1):
        page.locator("#density-epoch").press("ArrowLeft")
        page.locator(".density output", has_text=f"epoch {epoch}").wait_for()
        wait_for(lambda: cloud.evaluate("c => c.toDataURL()") not in shown, "another picture")
        shown.add(cloud.evaluate("c => c.toDataURL()"))


def test_on_a_phone_only_what_is_below_the_head_scrolls_and_each_view_begins_at_its_top(
    browser: Browser, server: Served, root: Path
) -> None:
    archive(root / "run_1", 1)
    context = browser.new_context(viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    open_run(page, server, "run_1")
    page.locator(".density canvas").wait_for(state="attached")
    assert page.evaluate("document.documentElement.scrollHeight") == 844
    page.evaluate("document.querySelector('main').scrollTop = 500")
    page.keyboard.press("c")  # another view begins at its top
    page.get_by_role("heading", name="Compare 1 run").wait_for()
    assert page.evaluate("document.querySelector('main').scrollTop") == 0
    context.close()


def test_of_thousands_of_runs_only_those_in_sight_are_in_the_document(
    page: Page, tmp_path: Path
) -> None:
    root = tmp_path / "many"
    for i in range(2_500):
        write_results(root / f"run_{i}", 1, status="completed")
    with served(root) as server:
        wait_for(lambda: server.json("/api/runs", ("limit", 1))["n_all"] == 2_500, "the runs")
        page.goto(server.url)
        page.locator("#filter-note", has_text="2500 runs").wait_for()
        assert page.locator("tbody tr[id]").count() < 80
        page.locator("table.runs").focus()
        page.keyboard.press("End")
        row(page, "run_2499").wait_for()
        assert page.locator("tbody tr[id]").count() < 80
        page.locator("#search").fill("run_1234")
        row(page, "run_1234").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(1280, 720), (390, 844)])
def test_axe_finds_no_fault_of_accessibility_in_any_view(
    browser: Browser, server: Served, scheme: Any, size: tuple[int, int]
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    viewport: Any = {"width": size[0], "height": size[1]}
    # axe is put in by the test itself, past the page's policy
    context = browser.new_context(viewport=viewport, color_scheme=scheme, bypass_csp=True)
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.goto(server.url)
    row(page, "run_0").wait_for()
    ids = [each["id"] for each in server.json("/api/runs")["runs"]]
    for view in ("#/", f"#/run/{ids[0]}", f"#/compare/{','.join(ids)}"):
        page.evaluate(f"location.hash = '{view}'")
        page.locator("h1").first.wait_for(state="attached")
        if view != "#/":
            page.wait_for_selector(".u-over")
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
    context.close()
