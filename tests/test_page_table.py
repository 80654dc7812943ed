"""The table, the keyboard, the help and the connection, in a real Chromium."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.monitord_trees import wait_for, write_results
from tests.page_browser import (
    PATIENCE_MS,
    a_browser,  # noqa: F401
    a_page,  # noqa: F401
    a_root,  # noqa: F401
    a_server,  # noqa: F401
    compare,
    entries,
    open_run,
    row,
)
from tests.page_server import Served

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

pytestmark = pytest.mark.slow

COUNT_SOURCES = """
window.sources = [];
window.EventSource = class extends EventSource {
  constructor(...given) { super(...given); window.sources.push(this); }
};
"""


def test_the_help_names_keys_and_filters_and_axe_finds_no_fault(
    browser: Browser, server: Served
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    for scheme in ("light", "dark"):
        context = browser.new_context(color_scheme=scheme, bypass_csp=True)  # type: ignore[arg-type]
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.goto(server.url)
        row(page, "run_0").wait_for()
        page.keyboard.press("?")
        dialog = page.get_by_role("dialog")
        assert "compare the selected runs" in dialog.inner_text()
        assert dialog.locator("dt").all_inner_texts()[-1] == "min.test.scaled_loss<9"
        assert "object" not in dialog.inner_text()
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        context.close()


def test_two_quick_returns_after_a_search_open_what_was_searched(
    page: Page, server: Served
) -> None:
    held: list[Route] = []
    page.route("**/api/runs?*fields=id*", lambda route: held.append(route))
    page.goto(server.url)
    row(page, "run_0").wait_for()
    page.keyboard.type("/run_2", delay=0)
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    wait_for(lambda: page.title() and held, "the question")
    for route in held:
        route.continue_()
    page.unroute("**/api/runs?*fields=id*")
    page.get_by_role("heading", name="run_2").wait_for()


def test_coming_back_while_all_is_loaded_opens_one_stream(page: Page, server: Served) -> None:
    page.add_init_script(COUNT_SOURCES)
    held: list[Route] = []
    page.route("**/api/runs?offset*", lambda route: held.append(route))
    page.goto(server.url)
    wait_for(lambda: page.title() and len(held) == 1, "the first question")
    page.evaluate("window.dispatchEvent(new Event('online'))")
    wait_for(lambda: page.title() and len(held) == 2, "the second question")
    held[1].continue_()
    page.locator("#connection[data-status=live]").wait_for()
    with page.expect_event("requestfinished", lambda asked: "offset" in asked.url):
        held[0].continue_()
    page.evaluate("fetch('/static/icon.svg').then((answer) => answer.text())")
    assert page.evaluate("sources.filter((each) => each.readyState !== 2).length") == 1


def test_a_training_loss_is_not_shown_as_a_test_loss(
    page: Page, server: Served, root: Path
) -> None:
    alone = [{k: v for k, v in each.items() if k != "test"} for each in entries(3)]
    write_results(root / "run_1", alone, status="completed")
    page.goto(server.url)
    line = row(page, "run_1")
    line.locator("td.state", has_text="finished").wait_for()
    assert line.locator(".loss_last").inner_text() == "\u2013"
    assert line.locator(".train_last").get_attribute("title") == str(
        alone[-1]["train"]["scaled_loss"]
    )
    compare(page, server)
    standing = page.get_by_role("region", name="How they stand")
    assert "-" in standing.locator("tr", has_text="test loss, last").inner_text().split("\t")


def test_a_selection_is_shown_on_a_runs_page_and_can_be_cleared(page: Page, server: Served) -> None:
    open_run(page, server, "run_0")
    page.keyboard.press("x")
    page.get_by_role("button", name="selected", pressed=True).wait_for()
    page.keyboard.press("x")
    page.get_by_role("button", name="select", pressed=False).click()
    page.get_by_role("button", name="selected", pressed=True).wait_for()
    page.locator("#axis").focus()
    page.keyboard.press("Escape")  # a list that was used does not swallow it
    page.get_by_role("button", name="Compare 1").wait_for()
    page.get_by_role("button", name="clear selection").click()
    page.get_by_role("button", name="Compare", exact=True, disabled=True).wait_for()
    assert page.locator("tbody input:checked").count() == 0


def test_times_in_what_surrounds_a_run_are_readable(page: Page, server: Served, root: Path) -> None:
    process = {"host": "h", "pid": 1, "started_at": 1795720488.63}
    write_results(root / "run_1", entries(3), status="completed", process=process)
    open_run(page, server, "run_1")
    page.get_by_text("Environment").click()
    line = page.locator(".side tr", has_text="process.started_at")
    line.wait_for()
    assert "2026" in line.inner_text() and "1795720488" not in line.inner_text()


def test_errors_tell_the_first_epoch_that_was_not_finite_and_each_reason_once(
    page: Page, server: Served, root: Path
) -> None:
    broken = entries(4)
    broken[1]["test"]["scaled_loss"] = math.inf
    write_results(root / "run_1", broken, status="completed")
    open_run(page, server, "run_1")
    errors = page.locator(".side details", has_text="Errors")
    errors.get_by_text("first not finite at epoch 2").wait_for()
    (root / "run_1" / "results.json").write_text("{")
    errors.get_by_text("cut off").wait_for()
    assert errors.get_by_text("cut off").count() == 1


def test_a_run_that_goes_on_has_no_diagnostics_yet(page: Page, server: Served, root: Path) -> None:
    bare: list[Any] = [{k: v for k, v in each.items() if k != "diagnostics"} for each in entries(3)]
    write_results(root / "run_1", bare, status="running", epochs=20)
    open_run(page, server, "run_1")
    chart = page.locator("figure.chart", has_text="Silhouette score")
    chart.get_by_text("no diagnostics yet").wait_for()


def test_on_a_phone_the_head_names_states_in_words(browser: Browser, server: Served) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.goto(server.url)
    row(page, "run_0").wait_for()
    box = page.locator("#counts .count span").last.bounding_box()
    assert box is not None and box["width"] > 20
    context.close()


def test_numbers_that_did_not_arrive_are_asked_for_again(page: Page, server: Served) -> None:
    failed: list[str] = []

    def fail_once(route: Route) -> None:
        if failed:
            route.continue_()
        else:
            failed.append(route.request.url)
            route.abort()

    page.route("**/series?*", fail_once)
    open_run(page, server, "run_0")
    assert failed


def test_a_comparison_says_how_many_differing_keys_it_leaves_out(
    page: Page, server: Served, root: Path
) -> None:
    for seed in range(2):
        config = {f"key_{i}": f"{seed} {i}" for i in range(450)}
        (root / f"run_{seed}" / "config.json").write_text(json.dumps(config))
        write_results(root / f"run_{seed}", entries(9), status="running")
    ids = [("id", each["id"]) for each in server.json("/api/runs")["runs"]]
    wait_for(lambda: server.json("/api/compare", *ids)["n_keys_left_out"], "the keys")
    compare(page, server)
    page.get_by_text("more keys differ; the list is cut off here").wait_for()


def test_escape_in_an_open_list_closes_the_list_alone(page: Page, server: Served) -> None:
    open_run(page, server, "run_0")
    page.locator("#axis").focus()
    page.keyboard.press("Alt+ArrowDown")
    page.keyboard.press("Escape")
    assert page.locator("article.run").count() == 1
    page.keyboard.type("/run_1", delay=0)
    page.locator("#filter-note", has_text="1 of 3 runs").wait_for()
