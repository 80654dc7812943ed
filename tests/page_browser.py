"""A real Chromium that looks at a real monitor's page, for the tests of the page."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.monitord_trees import wait_for, write_results
from tests.page_server import Served, served

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
PATIENCE_MS = 30_000

# In CI a browser that is missing is a failure, not a test less.
if CHROMIUM is None and not os.environ.get("CI"):
    pytest.skip("needs Chromium (Debian package chromium; make system)", allow_module_level=True)


@pytest.fixture(scope="module", name="browser")
def a_browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    assert CHROMIUM is not None, "CI has no Chromium: make system"
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture(name="page")
def a_page(browser: Browser) -> Iterator[Page]:
    """A page that fails its test if its program fails or the policy of content is broken."""
    context = browser.new_context(viewport={"width": 1280, "height": 720})
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    troubles: list[str] = []
    page.on("pageerror", lambda error: troubles.append(str(error)))

    def note(message: Any) -> None:
        # a lost connection is an error of the network, and meant
        if message.type == "error" and "ERR_" not in message.text:
            troubles.append(message.text)

    page.on("console", note)
    yield page
    context.close()
    # refusals are answers, not failures
    assert [text for text in troubles if "with a status of 4" not in text] == []


def entries(n_epochs: int, seed: int = 0) -> list[dict[str, Any]]:
    random = np.random.default_rng(seed)
    return [
        {
            "epoch": epoch,
            "train": {"loss": 20.0 / epoch + 1, "scaled_loss": 19.0 / epoch + random.random()},
            "test": {"scaled_loss": 18.0 / epoch + random.random()},
            "timing": {"train_seconds": 2.0, "test_seconds": 0.5},
            "diagnostics": {"n_blobs": 3 if epoch > 4 else 1, "blob_separation": 0.1 * epoch},
        }
        for epoch in range(1, n_epochs + 1)
    ]


def make_run(root: Path, name: str, n_epochs: int, seed: int = 0, **fields: Any) -> Path:
    folder = root / name
    write_results(folder, entries(n_epochs, seed), **{"status": "running", "epochs": 20} | fields)
    config = {"training": {"learning_rate": 0.02}, "data": {"seed": seed}}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(name="root")
def a_root(tmp_path: Path) -> Path:
    root = tmp_path / "experiments"
    for seed in range(3):
        make_run(root, f"run_{seed}", 8, seed)
    return root


@pytest.fixture(name="server")
def a_server(root: Path) -> Iterator[Served]:
    with served(root) as running:
        wait_for(lambda: running.json("/api/runs")["n_all"] >= 3, "the runs")
        yield running


def row(page: Page, name: str) -> Any:
    return page.locator("table.runs tbody tr", has=page.get_by_role("link", name=name, exact=True))


def open_run(page: Page, server: Served, name: str) -> str:
    page.goto(server.url)
    row(page, name).locator(".name a").click()
    page.wait_for_selector(".u-over")
    return page.url.rpartition("/")[2]


def loss_key(page: Page) -> Any:
    return loss_chart(page).locator(".key")


def values_of(key: Any) -> list[float]:
    return [float(item.get_attribute("data-value")) for item in key.locator("b").all()]


def another_picture(page: Page, before: str) -> str:
    return str(wait_for(lambda: (now := picture(page)) != before and now, "another picture"))


def picture(page: Page) -> str:
    canvas = loss_chart(page).locator("canvas")
    return str(canvas.evaluate("canvas => canvas.toDataURL()"))


def loss_chart(page: Page) -> Any:
    return page.locator("figure.chart", has_text="Scaled loss")


def box_of(chart: Any) -> dict[str, float]:
    box = chart.locator(".u-over").bounding_box()
    assert box is not None
    return dict(box)


def hover(page: Page, chart: Any, share: float, down_px: float = 40) -> None:
    """Put the pointer over a chart, ``share`` of its width from the left."""
    box = box_of(chart)
    page.mouse.move(box["x"] + share * (box["width"] - 1), box["y"] + down_px)


def zoom(page: Page, chart: Any, low: float, high: float) -> None:
    """Drag over a chart, between two shares of its width."""
    hover(page, chart, low)
    page.mouse.down()
    hover(page, chart, (low + high) / 2, 50)
    hover(page, chart, high, 60)
    page.mouse.up()
    chart.get_by_text("reset zoom").wait_for()


def compare(page: Page, server: Served) -> None:
    """Open the comparison of all runs."""
    ids = [each["id"] for each in server.json("/api/runs", ("sort", "name"))["runs"]]
    page.goto(server.url)
    page.locator("tbody tr[id]").first.wait_for()
    page.evaluate(f"location.hash = '#/compare/{','.join(ids)}'")
    page.wait_for_selector(".u-over")
