"""The page with 1,000 runs of 100 epochs: how soon it is there and tells, what it costs."""

from __future__ import annotations

import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from benchmarks.run_trees import epoch_entry, make_tree, replace_results
from benchmarks.table import PYTHON, Row

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

N_RUNS, N_EPOCHS = 1_000, 100
N_PAINTS, N_LANDINGS, IDLE_S, N_PAGES, N_UPDATES = 5, 60, 20.0, 5, 3_600
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--js-flags=--expose-gc", "--enable-precise-memory-info",
]  # fmt: skip
# When the table has rows: seen by the page itself, from the start of its navigation.
PAINTED = """() => new Promise((resolve) => {
  const look = () => document.querySelector("tbody tr[id]")
    ? requestAnimationFrame(() => setTimeout(() => resolve(performance.now())))
    : requestAnimationFrame(look);
  look();
})"""
# Resolves with the wall clock when the run's row shows an epoch.
SHOWS = """([name, epoch]) => new Promise((resolve) => {
  const look = () => {
    const row = [...document.querySelectorAll("tbody tr[id]")]
      .find((each) => each.querySelector(".name").textContent === name);
    const shown = row && parseInt(row.querySelector(".epoch").textContent);
    if (shown === epoch) setTimeout(() => resolve(Date.now()));
    else requestAnimationFrame(look);
  };
  look();
})"""


@contextmanager
def serving(root: Path) -> Iterator[tuple[psutil.Process, str]]:
    """Run the monitor with its page, as a user would, without pictures."""
    command = [PYTHON, "-u", "-m", "monitord", str(root), "--serve", "--port", "0", "--no-plots"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    url = process.stdout.readline().split()[1]
    drain = subprocess.Popen(["cat"], stdin=process.stdout, stdout=subprocess.DEVNULL)
    try:
        yield psutil.Process(process.pid), url
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()
        drain.wait(30)


def measure() -> list[Row]:
    """Measure everything in one monitor and one browser."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        sys.exit("bench page: needs Chromium; make system")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_tree(root, N_RUNS, N_EPOCHS)
        with serving(root) as (process, url), sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=chromium, args=ARGUMENTS)
            page = browser.new_page(viewport={"width": 1280, "height": 720})
            page.goto(url)
            page.wait_for_selector("tbody tr[id]", timeout=60_000)
            rows = [
                _row("first useful paint, 1,000 runs, median", paints(page, url), "s", 1.5),
                _row("an epoch lands until seen, 95th percentile", landings(page, root), "s", 0.5),
            ]
            read_everything(page)
            memory = process.memory_info().rss / 1e6
            rows.append(_row("server's resident memory, everything served", memory, "MB", 250))
            idle = idle_percent(browser, url, process)
            rows.append(_row("server's CPU when nothing changes, 5 pages open", idle, "%", 1.0))
            growth = heap_growth(page, root)
            rows.append(_row("browser's heap, growth over 3,600 updates", growth, "MB", 2.0))
            browser.close()
    return rows


def _row(name: str, figure: float, unit: str, bar: float) -> Row:
    digits = 2 if unit in ("s", "%") else 1
    return Row(name, f"{figure:.{digits}f} {unit}", "", None, f"< {bar:g} {unit}", figure < bar)


def paints(page: Page, url: str) -> float:
    """Median seconds from navigation to rows on the screen."""
    times = []
    for _ in range(N_PAINTS):
        page.goto("about:blank")
        page.goto(url.split("?")[0])
        times.append(page.evaluate(PAINTED) / 1000)
    return float(statistics.median(times))


def landings(page: Page, root: Path) -> float:
    """95th percentile of the seconds from replacing ``results.json`` to the row that shows it."""
    seed = random.Random(2)
    name = "run_00003"
    entries = [epoch_entry(epoch, seed) for epoch in range(1, N_EPOCHS + 1)]
    page.locator("#search").fill(name)
    page.locator("#filter-note", has_text="1 of").wait_for()
    times = []
    for epoch in range(N_EPOCHS + 1, N_EPOCHS + 1 + N_LANDINGS):
        entries.append(epoch_entry(epoch, seed))
        page.evaluate(f"void (window.seen = ({SHOWS})(['{name}', {epoch}]))")
        replace_results(root / name, json.dumps(entries)[1:-1], "running")
        landed = time.time()
        times.append(page.evaluate("window.seen") / 1000 - landed)
        time.sleep(0.05)
    page.locator("#search").fill("")
    return float(sorted(times)[int(0.95 * len(times))])


def read_everything(page: Page) -> None:
    """Ask for all series of all runs, as a page that looks at each of them would."""
    page.evaluate(
        """async () => {
          const { runs } = await (await fetch("/api/runs")).json();
          for (const run of runs) await (await fetch(`/api/runs/${run.id}/series`)).text();
        }"""
    )


def idle_percent(browser: Browser, url: str, process: psutil.Process) -> float:
    """The server's share of one CPU, in percent, with five pages open and nothing changing."""
    context = browser.new_context()
    for number in range(N_PAGES):
        page = context.new_page()
        page.goto(url if not number else url.split("?")[0])
        page.wait_for_selector("tbody tr[id]")
    time.sleep(5)
    before, started = process.cpu_times(), time.monotonic()
    time.sleep(IDLE_S)
    after, took = process.cpu_times(), time.monotonic() - started
    context.close()
    used = after.user + after.system - before.user - before.system
    return float(100 * used / took)


def heap_growth(page: Page, root: Path) -> float:
    """Megabytes that the page's heap grows by while a run is shown and an hour of epochs lands.

    The epochs are those of one run that starts over every 100, so that what is shown stays as
    large as it is: the heap must too. The stream is fed as fast as the page takes it.
    """
    run_id = page.evaluate(
        "async () => (await (await fetch('/api/runs?filter=name=run_00003')).json()).runs[0].id"
    )
    page.evaluate(f"location.hash = '#/run/{run_id}'")
    page.wait_for_selector(".u-over")
    seed = random.Random(4)
    entries = [epoch_entry(epoch, seed) for epoch in range(1, 101)]
    texts = [json.dumps(entries[: 1 + number])[1:-1] for number in range(100)]
    heaps = []
    for update in range(N_UPDATES):
        replace_results(root / "run_00003", texts[update % 100], "running")
        time.sleep(0.012)
        if update % 400 == 399 or update == 199:
            page.wait_for_timeout(300)
            page.evaluate("() => { gc(); gc(); }")
            heaps.append(page.evaluate("performance.memory.usedJSHeapSize") / 1e6)
    half = len(heaps) // 2
    return float(statistics.median(heaps[half:]) - statistics.median(heaps[:half]))
