"""How fast, how large and how idle monitord is; TensorBoard's fast loader beside it."""

from __future__ import annotations

import contextlib
import math
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from benchmarks import tensorboard_peer
from benchmarks.run_trees import make_tree, replace_results
from benchmarks.table import PYTHON, Row, interleaved, wall_seconds

N_LISTED = 1_000
N_FOLDERS = 10_000
N_BUSY = 100
VISIBLE_S = 12.0
IDLE_S = 30.0
BUSY_S = 30.0
WARM_S = 12.0


def measure() -> list[Row]:
    """Return the rows of all parts; about three minutes."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="bench-monitord-") as folder:
        scratch = Path(folder)
        make_tree(scratch / "thousand", N_LISTED, 100)
        make_tree(scratch / "many", N_FOLDERS, 2)
        parts: tuple[Callable[[Path], list[Row]], ...] = (
            measure_start, measure_listing, measure_visibility, measure_updates, measure_idle,
            measure_busy,
        )  # fmt: skip
        for part in parts:
            rows += part(scratch)
    return rows


def at_most(name: str, value: float, unit: str, bar: float, beside: str = "") -> Row:
    """Return the row of a figure that shall not exceed ``bar``."""
    shown = f"{value:.3g} {unit}".rstrip()
    return Row(name, shown, beside, None, f"<= {bar:g} {unit}".rstrip(), value <= bar)


def monitord(*arguments: object) -> tuple[str, ...]:
    """Return the command line of monitord."""
    return (PYTHON, "-m", "monitord", *map(str, arguments))


def measure_start(scratch: Path) -> list[Row]:
    """Time from the start of the process to the end of ``--help`` and of the first table."""
    make_tree(scratch / "hundred", 100, 20)
    helps = [wall_seconds(*monitord("--help")) for _ in range(7)]
    tables = [wall_seconds(*monitord(scratch / "hundred", "--once")) for _ in range(9)]
    slowest = f"slowest {max(tables):.2f} s"
    return [
        at_most("--help", statistics.median(helps), "s", 0.35),
        at_most("first table of 100 runs", statistics.median(tables), "s", 0.6, slowest),
    ]


def measure_listing(scratch: Path) -> list[Row]:
    """List all runs with their last values; TensorBoard loads as many numbers."""
    name = f"{N_LISTED:,} runs x 100 epochs x 20 numbers listed"

    def ours() -> float:
        return wall_seconds(*monitord(scratch / "thousand", "--once"))

    if not tensorboard_peer.is_installed():
        value = statistics.median(ours() for _ in range(5))
        return [at_most(name, value, "s", 2.0, "TensorBoard is not installed")]
    peer = tensorboard_peer.loading(scratch / "events", N_LISTED, 100)
    mine, theirs, ratio = interleaved(ours, lambda: wall_seconds(*peer), 5)
    beside = f"{theirs:.2f} s (TensorBoard's fast loader)"
    return [Row(name, f"{mine:.2f} s", beside, ratio, "<= 2 s", mine <= 2.0)]


@contextlib.contextmanager
def watching(root: Path) -> Iterator[object]:
    """Run a daemon on ``root`` in a thread; it watches when the block begins."""
    from monitord.daemon import Daemon
    from monitord.finding.roots import parse_roots

    daemon = Daemon(parse_roots([root]))
    thread = threading.Thread(target=daemon.run)
    thread.start()
    try:
        while daemon.health.n_steps < 3:
            time.sleep(0.01)
        yield daemon
    finally:
        daemon.stop()
        thread.join()


def measure_visibility(scratch: Path) -> list[Row]:
    """Time from a replacement by another process until the rows of the table have it."""
    root = scratch / "visible"
    make_tree(root, N_BUSY, 5, "running")
    delays = []
    with watching(root) as daemon:
        runs = {run.name: run for run in daemon.fleet.runs}  # type: ignore[attr-defined]
        with _writing(root, VISIBLE_S) as writer:
            for line in writer:
                written, name, epoch = line.split()
                while runs[name].columns.last_epoch() < int(epoch):
                    time.sleep(0.0005)
                delays.append(1e3 * (time.monotonic() - float(written)))
    delays.sort()
    rest = f"median {statistics.median(delays):.1f} ms, worst {delays[-1]:.1f} ms"
    late = delays[int(0.95 * len(delays))]
    name = "replace to visible, 95th percentile, 100 replacements a second"
    return [at_most(name, late, "ms", 100, rest)]


def measure_updates(scratch: Path) -> list[Row]:
    """Replace every file of a large tree once; count what the daemon has not seen."""
    root = scratch / "many"
    with watching(root) as daemon:
        expected = {f"run_{number:05d}": 3 + number % 3 for number in range(N_FOLDERS)}
        for name, n_epochs in expected.items():
            entries = ", ".join(f'{{"epoch": {epoch + 1}}}' for epoch in range(n_epochs))
            replace_results(root / name, entries)
        deadline, n_lost = time.monotonic() + 30.0, N_FOLDERS
        while n_lost and time.monotonic() < deadline:
            time.sleep(0.2)
            runs = daemon.fleet.runs  # type: ignore[attr-defined]
            found = {run.name: run.columns.last_epoch() for run in runs}
            n_lost = sum(found.get(name) != epoch for name, epoch in expected.items())
    return [at_most(f"lost of {N_FOLDERS:,} updates", n_lost, "", 0)]


def measure_idle(scratch: Path) -> list[Row]:
    """Processor time and memory while nothing changes, sweep on, both trees at once."""
    bars = {"thousand": (N_LISTED, 0.5), "many": (N_FOLDERS, 2.0)}
    started = [subprocess.Popen(monitord(scratch / name, "--no-plots"), stdout=subprocess.DEVNULL)
               for name in bars]  # fmt: skip
    rows = []
    try:
        processes = [psutil.Process(process.pid) for process in started]
        for process in processes:
            _settle(process)
        before = [(_cpu_s(process), process.memory_info().rss) for process in processes]
        time.sleep(IDLE_S)
        for process, (cpu_s, resident), (n_runs, bar) in zip(
            processes, before, bars.values(), strict=True
        ):
            share = 100 * (_cpu_s(process) - cpu_s) / IDLE_S
            rows.append(at_most(f"idle, {n_runs:,} folders", share, "% of a core", bar))
            grown = f"grew {(process.memory_info().rss - resident) / 1e6:.1f} MB in {IDLE_S:.0f} s"
            rows.append(
                at_most(f"resident memory, {n_runs:,} folders", resident / 1e6, "MB", 150, grown)
            )
    finally:
        for child in started:
            child.terminate()
            child.wait()
    return rows


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _settle(process: psutil.Process) -> None:
    """Wait until the first reading is over and the watching has begun."""
    before = -1.0
    while (now := _cpu_s(process)) - before > 0.03 or now < 0.2:
        before = now
        time.sleep(2.0)


def measure_busy(scratch: Path) -> list[Row]:
    """100 runs write an epoch a second each: how far pictures and table are behind."""
    root = scratch / "busy"
    make_tree(root, N_BUSY, 5, "running")
    pictures = [root / f"run_{number:05d}" / "training_metrics.png" for number in range(N_BUSY)]
    shown: dict[str, list[tuple[float, int]]] = {}
    process = subprocess.Popen(monitord(root), stdout=subprocess.PIPE, text=True)

    def listen() -> None:
        for line in process.stdout or ():
            _, name, _, epoch, *_ = line.split()
            last = int(epoch.removeprefix("epoch=").split("/")[0])
            shown.setdefault(name, []).append((time.monotonic(), last))

    listener = threading.Thread(target=listen)
    listener.start()
    written: list[tuple[float, str, int]] = []
    oldest = 0.0
    try:
        while not all(picture.exists() for picture in pictures):
            time.sleep(0.2)
        begun = time.monotonic()
        with _writing(root, BUSY_S) as writer:
            looked = begun
            for line in writer:
                at, name, epoch = line.split()
                written.append((float(at), name, int(epoch)))
                if (now := time.monotonic()) - looked > 0.5:
                    looked = now
                    if now - begun > WARM_S:
                        wall = time.time()
                        oldest = max(oldest, *(wall - path.stat().st_mtime for path in pictures))
        time.sleep(2.0)
    finally:
        process.terminate()
        process.wait()
        listener.join()
    delays = sorted(
        next((seen for seen, last in shown[name] if last >= epoch), math.inf) - at
        for at, name, epoch in written
    )
    name = f"{N_BUSY} runs write an epoch a second each: "
    beside = f"median {1e3 * statistics.median(delays):.0f} ms"
    return [
        at_most(f"{name}oldest picture", oldest, "s", 10.0, "age of the file, over its delay"),
        at_most(f"{name}slowest line of the table", delays[-1], "s", 1.0, beside),
    ]


@contextlib.contextmanager
def _writing(root: Path, seconds: float) -> Iterator[Iterator[str]]:
    """Have another process write epochs; yield its lines: time, run, epoch."""
    command = [PYTHON, "-m", "benchmarks.run_trees", str(root), str(N_BUSY), str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        yield iter(writer.stdout)
