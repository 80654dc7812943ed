"""How fast, how large and how idle monitord is, against its bars; TensorBoard beside it.

Usage::

    python benchmarks/bench_monitord.py [--quick] [--tensorboard PYTHON] [--only NAME ...]

``--tensorboard`` names a Python that has tensorboard; without it that row is left out. Prints a
table and writes ``benchmarks/results/monitord.json`` (``monitord-quick.json`` with ``--quick``).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
METRICS = {
    "train": ("loss", "scaled_loss", "loss_on", "loss_off"),
    "test": ("scaled_loss", "loss_on", "loss_off"),
    "timing": ("train_seconds", "test_seconds"),
    "diagnostics": (
        "n_blobs", "blob_separation", "blob_silhouette", "blob_correlation", "blob_born_epoch",
        "n_clusters_dbscan", "weight_correlation", "encoder_std", "decoder_std", "encoder_mean",
        "decoder_mean",
    ),
}  # fmt: skip
"""20 numbers per epoch."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    name: str
    value: float | None
    unit: str
    bar: float | None
    note: str = ""

    @property
    def holds(self) -> bool | None:
        return None if self.value is None or self.bar is None else self.value <= self.bar


def epoch_entry(epoch: int, seed: random.Random) -> dict[str, Any]:
    entry: dict[str, Any] = {"epoch": epoch}
    for group, names in METRICS.items():
        entry[group] = {name: seed.random() + 80 / epoch for name in names}
    return entry


def replace_results(folder: Path, entries: list[Any], status: str = "completed") -> None:
    temporary = folder / f".results.json.{os.getpid()}.tmp"
    temporary.write_text(json.dumps({"status": status, "training_history": entries}))
    temporary.replace(folder / "results.json")


def make_tree(root: Path, n_runs: int, n_epochs: int, status: str = "completed") -> None:
    seed = random.Random(1)
    for number in range(n_runs):
        folder = root / f"run_{number:05d}"
        folder.mkdir(parents=True)
        config = {"training": {"learning_rate": 0.01 * (number % 5 + 1), "epochs": n_epochs}}
        (folder / "config.json").write_text(json.dumps(config))
        entries = [epoch_entry(epoch, seed) for epoch in range(1, n_epochs + 1)]
        replace_results(folder, entries, status)


def monitord(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    options.setdefault("stdout", subprocess.DEVNULL)
    command = [sys.executable, "-m", "monitord", *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, text=True, **options)


def wall_of(*arguments: object, n_times: int = 5) -> list[float]:
    times = []
    for _ in range(n_times):
        started = time.perf_counter()
        process = monitord(*arguments)
        assert process.wait() == 0
        times.append(time.perf_counter() - started)
    return times


def start_times(scratch: Path, quick: bool) -> list[Figure]:
    make_tree(scratch / "hundred", 100, 20)
    n_times = 3 if quick else 9
    helps = wall_of("--help", n_times=n_times)
    table = wall_of(scratch / "hundred", "--once", n_times=n_times)
    return [
        Figure(name="help", value=statistics.median(helps), unit="s", bar=0.35),
        Figure(
            name="first table of 100 runs, from process start",
            value=statistics.median(table), unit="s", bar=0.6, note=f"slowest {max(table):.2f}",
        ),
    ]  # fmt: skip


def listing(scratch: Path, quick: bool, tensorboard: str | None) -> list[Figure]:
    n_runs = 200 if quick else 1000
    root = scratch / "thousand"
    make_tree(root, n_runs, 100)
    times = wall_of(root, "--once", n_times=3 if quick else 5)
    scale = n_runs / 1000
    figures = [
        Figure(
            name=f"{n_runs} runs x 100 epochs x 20 numbers listed, from process start",
            value=statistics.median(times), unit="s", bar=2.0 * max(scale, 0.4),
            note=f"slowest {max(times):.2f}",
        )
    ]  # fmt: skip
    figures += idle(root, 10.0 if quick else 60.0, n_runs, 0.5)
    if tensorboard is not None:
        figures.append(tensorboard_listing(scratch / "events", n_runs, tensorboard))
    return figures


def idle(root: Path, seconds: float, n_runs: int, bar_percent: float) -> list[Figure]:
    process = monitord(root, "--no-plots")
    try:
        watched = psutil.Process(process.pid)
        settle(watched)
        first = sum(watched.cpu_times()[:2])
        resident = watched.memory_info().rss
        time.sleep(seconds)
        used = sum(watched.cpu_times()[:2]) - first
        grown = watched.memory_info().rss - resident
        return [
            Figure(
                name=f"idle processor time, {n_runs} runs, sweep on",
                value=100 * used / seconds, unit="%", bar=bar_percent, note=f"over {seconds:.0f} s",
            ),
            Figure(
                name=f"resident memory, {n_runs} runs",
                value=resident / 1e6, unit="MB", bar=150 if n_runs <= 1000 else None,
                note=f"grew {grown / 1e6:.1f} MB",
            ),
        ]  # fmt: skip
    finally:
        process.terminate()
        process.wait()


def settle(process: psutil.Process) -> None:
    """Wait until the first reading is over and the watching has begun."""
    before = -1.0
    while (now := sum(process.cpu_times()[:2])) != before or now < 0.2:
        before = now
        time.sleep(2.5)


def visibility(scratch: Path, quick: bool) -> list[Figure]:
    """Replace files from another process; time until the daemon's own rows show it."""
    from monitord.daemon import Daemon
    from monitord.finding.roots import parse_roots

    root = scratch / "visible"
    make_tree(root, 100, 20, "running")
    daemon = Daemon(parse_roots([root]))
    thread = threading.Thread(target=daemon.run)
    thread.start()
    while daemon.health.n_steps < 3:
        time.sleep(0.01)
    delays = []
    n_updates = 60 if quick else 400
    script = (
        "import json,os,sys,time\n"
        "for line in sys.stdin:\n"
        "    path,n=json.loads(line); d=json.load(open(path)); e=d['training_history'][-1]\n"
        "    d['training_history'].append({**e,'epoch':n}); t=path+'.tmp'\n"
        "    json.dump(d,open(t,'w')); os.replace(t,path); print(time.monotonic(),flush=True)\n"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=pipe, stdout=pipe, text=True
    ) as writer:
        assert writer.stdin is not None
        assert writer.stdout is not None
        runs = {run.name: run for run in daemon.fleet.runs}
        for number in range(n_updates):
            run = runs[f"run_{number % 100:05d}"]
            epoch = run.columns.last_epoch() + 1
            writer.stdin.write(json.dumps([str(run.folder / "results.json"), epoch]) + "\n")
            writer.stdin.flush()
            written = float(writer.stdout.readline())
            while run.columns.last_epoch() != epoch:
                time.sleep(0.0005)
            delays.append(time.monotonic() - written)
            time.sleep(0.01)
        writer.stdin.close()
    daemon.stop()
    thread.join()
    delays.sort()
    return [
        Figure(
            name="replace to visible, 95th percentile",
            value=1e3 * delays[int(0.95 * len(delays))], unit="ms", bar=100,
            note=f"median {1e3 * statistics.median(delays):.1f}, worst {1e3 * delays[-1]:.1f}",
        )
    ]  # fmt: skip


def ten_thousand(scratch: Path, quick: bool) -> list[Figure]:
    from monitord.daemon import Daemon
    from monitord.finding.roots import parse_roots

    n_folders = 1000 if quick else 10_000
    root = scratch / "many"
    make_tree(root, n_folders, 2)
    daemon = Daemon(parse_roots([root]))
    thread = threading.Thread(target=daemon.run)
    thread.start()
    while daemon.health.n_steps < 3:
        time.sleep(0.05)
    seed = random.Random(2)
    for number in range(n_folders):
        entries = [epoch_entry(epoch, seed) for epoch in range(1, 4 + number % 3)]
        replace_results(root / f"run_{number:05d}", entries)
    deadline = time.monotonic() + 60
    expected = {f"run_{number:05d}": 3 + number % 3 for number in range(n_folders)}
    lost = n_folders
    while lost and time.monotonic() < deadline:
        time.sleep(0.2)
        found = {run.name: run.columns.last_epoch() for run in daemon.fleet.runs}
        lost = sum(found.get(name) != epoch for name, epoch in expected.items())
    daemon.stop()
    thread.join()
    figures = [Figure(name=f"lost of {n_folders} updates", value=lost, unit="", bar=0)]
    return figures + idle(root, 10.0 if quick else 60.0, n_folders, 2.0)


def busy(scratch: Path, quick: bool) -> list[Figure]:
    """100 runs write an epoch a second each; how far the pictures and the table are behind."""
    root = scratch / "busy"
    n_runs = 20 if quick else 100
    seconds = 15 if quick else 60
    make_tree(root, n_runs, 5, "running")
    writer = (
        "import sys,time; sys.path.insert(0, sys.argv[1])\n"
        "from benchmarks.bench_monitord import *\n"
        "root=Path(sys.argv[2]); n=int(sys.argv[3]); end=time.monotonic()+float(sys.argv[4])\n"
        "seed=random.Random(3); h=[[epoch_entry(e,seed) for e in range(1,6)] for _ in range(n)]\n"
        "while time.monotonic()<end:\n"
        "    begun=time.monotonic()\n"
        "    for i in range(n):\n"
        "        h[i].append(epoch_entry(len(h[i])+1,seed))\n"
        "        replace_results(root/f'run_{i:05d}',h[i],'running')\n"
        "        time.sleep(max(0,begun+(i+1)/n-time.monotonic()))\n"
    )
    lines = (scratch / "lines.txt").open("w")
    process = monitord(root, stdout=lines)
    pictures = [root / f"run_{i:05d}" / "training_metrics.png" for i in range(n_runs)]
    deadline = time.monotonic() + 120
    while not all(path.exists() for path in pictures) and time.monotonic() < deadline:
        time.sleep(0.5)
    command = [sys.executable, "-c", writer, str(ROOT), str(root), str(n_runs), str(seconds)]
    with subprocess.Popen(command, cwd=ROOT) as writing:
        behind = []
        started = time.time()
        while writing.poll() is None:
            time.sleep(1.0)
            if time.time() - started > 12:
                ages = [time.time() - mtime_of(path) for path in pictures]
                behind.append(max(ages))
    process.terminate()
    process.wait()
    lines.close()
    return [
        Figure(
            name=f"{n_runs} runs with an epoch a second: oldest picture",
            value=max(behind) if behind else None, unit="s", bar=10.0,
            note="age of the file, up to 1 s more than its delay",
        )
    ]  # fmt: skip


def mtime_of(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def tensorboard_listing(root: Path, n_runs: int, python: str) -> Figure:
    """The same numbers as event files, listed with last values by TensorBoard's own loader."""
    script = ROOT / "benchmarks" / "tensorboard_peer.py"
    make = subprocess.run([python, str(script), "write", str(root), str(n_runs)], check=False)
    if make.returncode:
        return Figure(name="TensorBoard", value=None, unit="s", bar=None, note="not to be had")
    started = time.perf_counter()
    done = subprocess.run([python, str(script), "list", str(root)], capture_output=True, text=True)
    took = time.perf_counter() - started
    note = done.stdout.strip() or done.stderr.strip()[-60:]
    name = f"TensorBoard: {n_runs} runs x 100 epochs x 20 numbers listed"
    value = took if done.returncode == 0 else None
    return Figure(name=name, value=value, unit="s", bar=None, note=note)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="smaller trees; under a minute")
    parser.add_argument("--tensorboard", metavar="PYTHON", help="a Python that has tensorboard")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="start listing visible many busy")
    options = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="bench-monitord-"))
    parts: dict[str, Callable[[], list[Figure]]] = {
        "start": lambda: start_times(scratch, options.quick),
        "listing": lambda: listing(scratch, options.quick, options.tensorboard),
        "visible": lambda: visibility(scratch, options.quick),
        "many": lambda: ten_thousand(scratch, options.quick),
        "busy": lambda: busy(scratch, options.quick),
    }
    figures: list[Figure] = []
    try:
        for name, measure in parts.items():
            if options.only is None or name in options.only:
                for figure in measure():
                    figures.append(figure)
                    show(figure)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    RESULTS.mkdir(exist_ok=True)
    output = RESULTS / ("monitord-quick.json" if options.quick else "monitord.json")
    found = {figure.name: asdict(figure) | {"holds": figure.holds} for figure in figures}
    if options.only is not None and output.exists():
        earlier = json.loads(output.read_text())["figures"]
        found = {figure["name"]: figure for figure in earlier} | found
    kept = list(found.values())
    output.write_text(json.dumps({"n_cpus": os.cpu_count(), "figures": kept}, indent=2) + "\n")
    return 0 if all(figure.holds is not False for figure in figures) else 1


def show(figure: Figure) -> None:
    value = "-" if figure.value is None else f"{figure.value:.2f} {figure.unit}"
    bar = "-" if figure.bar is None else f"{figure.bar:g} {figure.unit}"
    holds = {True: "holds", False: "MISSED", None: ""}[figure.holds]
    print(f"{figure.name:<70} {value:>12} {bar:>10}  {holds:<7} {figure.note}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
