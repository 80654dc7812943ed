"""Runs are found again and told apart: addresses, selection, names, in a real Chromium."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.monitord_trees import wait_for, write_results
from tests.page_browser import (
    PATIENCE_MS,
    a_browser,  # noqa: F401
    a_page,  # noqa: F401
    a_root,  # noqa: F401
    a_server,  # noqa: F401
    entries,
    make_run,
    open_run,
    row,
)
from tests.page_server import Served

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow


def test_filter_and_order_are_kept_in_the_address(page: Page, server: Served) -> None:
    page.goto(server.url)
    page.locator("#search").fill("run_1 state=running")
    page.locator("#filter-note", has_text="1 of 3 runs").wait_for()
    page.get_by_role("button", name="Epoch").click()
    address = page.url
    assert address.endswith("#/?filter=run_1+state%3Drunning&sort=epoch")
    page.reload()
    page.locator("#filter-note", has_text="1 of 3 runs").wait_for()
    page.locator("th.epoch[aria-sort=ascending]").wait_for()
    row(page, "run_1").locator(".name a").click()
    page.wait_for_selector(".u-over")
    page.go_back()
    page.locator("#filter-note", has_text="1 of 3 runs").wait_for()
    assert page.url == address
    page.evaluate("location.hash = '#/?filter=run_2/x'")  # as a bookmark would
    page.locator("#filter-note", has_text="0 of 3 runs").wait_for()
    page.locator("#search").fill("")
    page.locator("#filter-note", has_text=re.compile("^3 runs$")).wait_for()
    assert page.url.endswith("#/?sort=epoch")


def test_a_loss_that_is_not_a_number_is_told_as_nan(page: Page, server: Served, root: Path) -> None:
    broken = entries(4)
    broken[-1]["test"]["scaled_loss"] = math.nan
    write_results(root / "run_1", broken, status="running", epochs=20)
    page.goto(server.url)
    row(page, "run_1").locator(".loss_last", has_text=re.compile("^nan$")).wait_for()
    open_run(page, server, "run_1")
    loss = page.locator(".facts div", has=page.get_by_text("loss", exact=True))
    assert loss.locator("dd").inner_text() == "nan"


def test_all_runs_shown_are_selected_at_once_and_a_range_by_shift(
    page: Page, server: Served
) -> None:
    page.goto(server.url)
    page.locator("#search").fill("seed<2")
    page.locator("#filter-note", has_text="2 of 3 runs").wait_for()
    every = page.get_by_label("select all runs shown")
    every.click()
    page.get_by_role("button", name="Compare 2").wait_for()
    page.locator("#search").fill("")
    page.locator("#filter-note", has_text=re.compile("^3 runs$")).wait_for()
    page.locator("th.pick input:indeterminate").wait_for()
    every.click()
    page.get_by_role("button", name="Compare 3").wait_for()
    every.click()
    page.get_by_role("button", name="Compare", exact=True, disabled=True).wait_for()
    page.get_by_label("select run_0").check()
    row(page, "run_2").locator("td.epoch").click(modifiers=["Shift"])
    page.get_by_role("button", name="Compare 3").wait_for()
    page.get_by_label("select run_1").uncheck()
    page.get_by_label("select run_2").click(modifiers=["Shift"])
    page.get_by_role("button", name="Compare 3").wait_for()


def test_on_a_phone_the_ends_of_long_names_and_what_the_search_says_can_be_read(
    browser: Browser, server: Served, root: Path
) -> None:
    for i in range(2):
        make_run(root, f"sweep_of_learning_rates_with_many_words_{i}_width_512", 8, i)
    context = browser.new_context(viewport={"width": 420, "height": 800})
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.goto(server.url)
    page.locator("#search").fill("sweep")
    note = page.locator("#filter-note", has_text="2 of 5 runs")
    note.wait_for()
    for i in range(2):
        end = row(page, f"sweep_of_learning_rates_with_many_words_{i}_width_512").locator(".end")
        assert end.inner_text() == f"ny_words_{i}_width_512"[-18:]
        assert end.evaluate("e => e.getBoundingClientRect().right") <= end.evaluate(
            "e => e.closest('td').getBoundingClientRect().right"
        )
    page.locator("#search").fill("learning_rte=1")
    page.locator("#filter-note", has_text="did you mean").wait_for()
    said, box = note_box(page, "#filter-note"), note_box(page, "#search")
    assert said["y"] >= box["y"] + box["height"] and said["x"] + said["width"] <= 420
    context.close()


def test_the_title_of_the_tab_begins_with_the_run(page: Page, server: Served) -> None:
    open_run(page, server, "run_2")
    assert page.title() == "run_2 \u2013 3 running \u2013 monitord"
    page.keyboard.press("Escape")
    row(page, "run_2").wait_for()
    assert page.title() == "3 running \u2013 monitord"
    page.go_back()
    page.wait_for_selector(".u-over")
    page.reload()
    wait_for(lambda: page.title().startswith("run_2 \u2013 "), "the title")


def test_an_unknown_run_is_told_and_nothing_else(page: Page, server: Served) -> None:
    for id_ in ("0123456789abcdef", "nonsense"):
        page.goto(f"{server.url}#/run/{id_}")
        page.get_by_role("heading", name="No such run").wait_for()
        assert page.locator("figure, main button, .card").count() == 0
        page.keyboard.press("x")
        page.get_by_role("link", name="All runs").last.click()
        row(page, "run_0").wait_for()
        page.get_by_role("button", name="Compare", exact=True, disabled=True).wait_for()


def test_a_link_to_a_comparison_leaves_the_selection_alone(page: Page, server: Served) -> None:
    page.goto(server.url)
    page.get_by_label("select run_0").check()
    ids = [each["id"] for each in server.json("/api/runs")["runs"]]
    page.evaluate(f"location.hash = '#/compare/{','.join(ids)}'")
    page.get_by_role("heading", name="Compare 3 runs").wait_for()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Compare 1").wait_for()
    assert page.get_by_label("select run_0").is_checked()


def test_panels_of_a_run_without_epochs_say_that_there_is_no_value_yet(
    page: Page, server: Served, root: Path
) -> None:
    write_results(root / "run_9", 0, status="running", epochs=20)
    page.goto(server.url)
    row(page, "run_9").locator(".name a").click()
    page.locator("figure .absent", has_text="No value yet").nth(3).wait_for()
    page.keyboard.press("c")
    page.get_by_role("heading", name="Compare 1 run").wait_for()
    page.locator("figure .absent", has_text="No value yet").nth(5).wait_for()
    assert page.get_by_text("fewer than two clusters").count() == 0


def test_a_comparison_of_many_runs_folds_their_names_and_shortens_the_heads(
    page: Page, server: Served, root: Path
) -> None:
    for i in range(15):
        make_run(root, f"sweep_with_a_long_name/width_{i}", 3, i)
    page.goto(server.url)
    page.locator("#search").fill("sweep")
    page.locator("#filter-note", has_text="15 of 18 runs").wait_for()
    page.get_by_label("select all runs shown").click()
    page.get_by_role("button", name="Compare 15").click()
    chips = page.get_by_role("list", name="Compared runs").locator("li")
    page.get_by_role("button", name="and 3 more").click()
    page.get_by_role("button", name="and 3 more").wait_for(state="detached")
    assert chips.count() == 15
    heads = page.get_by_role("region", name="How they stand").locator("thead th bdi")
    heads.nth(14).wait_for()
    assert set(heads.all_inner_texts()) == {f"\u2026{i}" for i in range(15)}
    colour = "marks => marks.map((mark) => mark.style.background)"
    marks = page.get_by_role("region", name="How they stand").locator("thead th i")
    assert marks.evaluate_all(colour) == chips.locator("> i").evaluate_all(colour)


def note_box(page: Page, place: str) -> dict[str, float]:
    box = page.locator(place).bounding_box()
    assert box is not None
    return dict(box)


def test_names_with_decimals_are_in_the_order_of_their_values(
    page: Page, server: Served, root: Path
) -> None:
    for name in ("lr0.02", "lr0.003", "lr0.01"):
        write_results(root / name, 1, status="completed")
    page.goto(server.url)
    page.locator("#search").fill("name~lr")
    page.locator("#filter-note", has_text="3 of 6 runs").wait_for()
    page.get_by_role("button", name="Run", exact=True).click()
    links = page.get_by_role("link", name=re.compile("^lr0"))
    assert links.all_inner_texts() == ["lr0.003", "lr0.01", "lr0.02"]
