"""Runs are found again and told apart: addresses, selection, names, in a real Chromium."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.monitord_trees import write_results
from tests.page_browser import (
    a_browser,  # noqa: F401
    a_page,  # noqa: F401
    a_root,  # noqa: F401
    a_server,  # noqa: F401
    entries,
    open_run,
    row,
)
from tests.page_server import Served

if TYPE_CHECKING:
    from playwright.sync_api import Page

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


def test_a_loss_that_is_not_a_number_is_told_as_nan(
    page: Page, server: Served, root: Path
) -> None:
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
    page.wait_for_function("document.querySelector('th.pick input').indeterminate")
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
