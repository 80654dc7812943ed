"""How well the profiler's figures agree with real runs, and its choice with brute force.

1. Throughput: the profile of a preset, as the command makes it; between its rounds of windows real
   runs at its smallest and largest size (the slowest and the fastest) train one epoch each. So
   both see the same machine, however it drifts.
2. Time: the whole of ``python -m profiler CONFIG`` with its start and pictures.
3. Time to target: every size is trained to the profile's target (``--to-loss``); the chosen one
   against the best.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.paced_run import PacedRun
from benchmarks.table import PYTHON, Row
from profiler.api import Profile
from profiler.backend import ProcessBackend, TrialProcess
from profiler.plan import default_sizes
from profiler.progress import NoProgress
from profiler.settings import Settings
from trainer.config import load_config

ROOT = Path(__file__).resolve().parent.parent
AGREEMENT = 0.03
CHOICE = 1.10
LONGEST_S = 120.0


class TakingTurns:
    """The profiler's own back-end; before each round of windows the real runs train an epoch."""

    def __init__(self, runs: Sequence[PacedRun], n_sizes: int, n_epochs: int) -> None:
        """Let ``runs`` train ``n_epochs`` epochs in all, one a round."""
        self._real = ProcessBackend()
        self._runs, self._n_sizes, self._n_epochs = runs, n_sizes, n_epochs
        self._n_windows = 0

    def start(self) -> TrialProcess:
        return self._real.start()

    def wait_for_cores(self, threads: int, limit_s: float) -> None:
        if self._n_windows % self._n_sizes == 0 and len(self._runs[0].rates) < self._n_epochs:
            odd = len(self._runs[0].rates) % 2
            for run in self._runs[:: -1 if odd else 1]:
                self._real.wait_for_cores(threads, limit_s)
                run.epoch()
        self._n_windows += 1
        self._real.wait_for_cores(threads, limit_s)


def agreement(
    preset: str, n_epochs: int, sizes: Sequence[int], settings: Settings, **overrides: Any
) -> list[Row]:
    """Return rows on the throughput at the smallest and the largest size."""
    overrides = {"enable_diagnostics": False, **overrides}
    extremes = [min(sizes), max(sizes)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        runs = [
            PacedRun(
                preset, folder / str(size), batch_size=size, epochs=n_epochs,
                save_plots=False, save_model=False, **overrides,
            )
            for size in extremes
        ]  # fmt: skip
        try:
            config = load_config(preset, {"data.device": "cpu"})
            profile = Profile(config, sizes, settings, folder / "profile.md")
            backend = TakingTurns(runs, len(sizes), n_epochs)
            found = profile.run(backend, NoProgress())
        finally:
            for run in runs:
                run.close()
    rows = []
    for size, run in zip(extremes, runs, strict=True):
        rate = found.analysis.speeds[size].rate
        real = statistics.median(run.rates)
        ratio = rate.value / real
        rows.append(
            Row(
                f"{preset}, batch {size:,}: throughput of the profile against a real run's epochs",
                f"{rate.value:,.0f} samples/s ({rate.low:,.0f} to {rate.high:,.0f})",
                f"{real:,.0f} samples/s, {len(run.rates)} epochs",
                ratio,
                f"within {AGREEMENT:.0%}",
                abs(ratio - 1) <= AGREEMENT,
            )
        )
    return rows


def profile_command(preset: str, folder: Path, *arguments: str) -> tuple[float, dict[str, Any]]:
    """Run the command; return its wall time and what its JSON holds."""
    command = [PYTHON, "-m", "profiler", preset, "--device", "cpu", "--quiet", *arguments]
    started = time.perf_counter()
    subprocess.run(
        [*command, "--output", str(folder / "profile.md")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    seconds = time.perf_counter() - started
    loaded: dict[str, Any] = json.loads((folder / "profile.json").read_text())
    return seconds, loaded


def choice(preset: str) -> list[Row]:
    """Return rows on the length of a profile, and on its choice by time to target."""
    with tempfile.TemporaryDirectory() as name:
        seconds, profile = profile_command(preset, Path(name))
        target = profile["analysis"]["figures"]["target"]["loss"]
        chosen = profile["analysis"]["recommendation"]["time_to_target"]["batch_size"]
        _, brute = profile_command(preset, Path(name), "--to-loss", str(target))
    times = {
        t["batch_size"]: t["seconds"]["value"]
        for t in brute["analysis"]["figures"]["target_times"]
        if t["is_measured"]
    }
    best = min(times, key=times.__getitem__)
    ratio = times[chosen] / times[best]
    return [
        Row(
            f"{preset}: the whole profile",
            f"{seconds:.0f} s",
            f"{LONGEST_S:.0f} s",
            seconds / LONGEST_S,
            "<= 1",
            seconds <= LONGEST_S,
        ),
        Row(
            f"{preset}: time to loss {target:g}, the chosen size against the best of {len(times)}",
            f"{times[chosen]:.2f} s at {chosen:,}",
            f"{times[best]:.2f} s at {best:,}",
            ratio,
            f"<= {CHOICE}",
            ratio <= CHOICE,
        ),
    ]


def measure() -> list[Row]:
    """Measure all rows of this file."""
    quick = load_config("quick_3blob")
    settings = Settings(windows_s=120, busy_windows_s=120, pictures=False)
    rows = agreement("quick_3blob", 20, default_sizes(quick), settings)
    rows += choice("quick_3blob")
    settings = Settings(test_epochs=1, windows_s=150, busy_windows_s=150, pictures=False)
    rows += agreement("reference_3blob", 3, [2500, 10_000, 40_000], settings)
    return rows
