"""How well the profiler's figures agree with real runs, and its choice with brute force.

1. Throughput: the profile of a preset, as the command makes it; between its rounds of windows real
   runs at its smallest and largest size (the slowest and the fastest) take turns; 20 of their
   epochs count. So both see the same machine, however it drifts. Once with PyTorch's threads, once
   with one. The real runs are without diagnostics, which the rate does not contain.
2. Time: the whole of ``python -m profiler CONFIG`` with its start and pictures.
3. Time to target: every size is trained to the profile's target (``--to-loss``); the chosen one
   against the best.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.paced_run import PacedRun
from benchmarks.table import PYTHON, Row
from profiler.api import Profile
from profiler.backend import ProcessBackend, TrialProcess
from profiler.measure import Speed, estimate_speed
from profiler.plan import default_sizes
from profiler.progress import NoProgress
from profiler.settings import Settings
from trainer.config import load_config

ROOT = Path(__file__).resolve().parent.parent
AGREEMENT = 0.03
CHOICE = 1.10
LONGEST_S = 120.0


class TakingTurns:
    """The profiler's own back-end; before some rounds of windows the real runs have a turn."""

    def __init__(self, runs: Sequence[PacedRun], n_sizes: int, turns: Turns) -> None:
        """Let ``runs`` take turns among the windows of ``n_sizes`` sizes."""
        self._real = ProcessBackend()
        self._runs, self._n_sizes, self._turns = runs, n_sizes, turns
        self._n_windows = 0

    def start(self) -> TrialProcess:
        return self._real.start()

    def wait_for_cores(self, threads: int, limit_s: float) -> None:
        number, position = divmod(self._n_windows, self._n_sizes)
        turn, between = divmod(number, self._turns.every)
        if position == 0 and between == 0 and turn < self._turns.n:
            for run in self._runs[:: -1 if turn % 2 else 1]:
                run.turn(self._turns.n_epochs)
        self._n_windows += 1
        self._real.wait_for_cores(threads, limit_s)


@dataclass(frozen=True)
class Turns:
    """``n`` turns of ``n_epochs`` epochs each, one before every ``every``-th round of windows."""

    n: int
    n_epochs: int
    every: int


def agreement(preset: str, turns: Turns, sizes: Sequence[int], settings: Settings) -> list[Row]:
    """Return rows on the throughput at the smallest and the largest size.

    The same rule says of windows and of epochs which of them had the machine to themselves.
    """
    extremes = [min(sizes), max(sizes)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        runs = [
            PacedRun(
                preset, folder / str(size), batch_size=size, epochs=turns.n * turns.n_epochs,
                enable_diagnostics=False, save_plots=False, save_model=False,
                threads=settings.threads,
            )
            for size in extremes
        ]  # fmt: skip
        try:
            config = load_config(preset, {"data.device": "cpu"})
            profile = Profile(config, sizes, settings, folder / "profile.md")
            found = profile.run(TakingTurns(runs, len(sizes), turns), NoProgress())
        finally:
            for run in runs:
                run.close()
    rows = []
    for size, run in zip(extremes, runs, strict=True):
        trial = found.record.trial(size)
        assert trial is not None
        rate = found.analysis.speeds[size].rate
        real = estimate_speed(run.epochs, trial.threads)
        assert real is not None
        ratio = rate.value / real.rate.value
        rows.append(
            Row(
                f"{preset}, batch {size:,}, {trial.threads} threads: profile against real epochs",
                _rate(found.analysis.speeds[size]),
                f"{_rate(real)}; {run.n_trained} epochs run",
                ratio,
                f"within {AGREEMENT:.0%}",
                abs(ratio - 1) <= AGREEMENT,
            )
        )
    return rows


def _rate(speed: Speed) -> str:
    rate = speed.rate
    return (
        f"{rate.value:,.0f} samples/s ({rate.low:,.0f} to {rate.high:,.0f};"
        f" {speed.n_used} used, {speed.n_rejected} rejected)"
    )


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
    sizes = default_sizes(load_config("quick_3blob"))
    rows = []
    for threads in (None, 1):
        settings = Settings(
            test_epochs=1, windows_s=110, busy_windows_s=110, pictures=False, threads=threads
        )
        rows += agreement("quick_3blob", Turns(n=20, n_epochs=2, every=1), sizes, settings)
    rows += choice("quick_3blob")
    settings = Settings(test_epochs=1, windows_s=150, busy_windows_s=150, pictures=False)
    sizes = default_sizes(load_config("reference_3blob"))
    return rows + agreement("reference_3blob", Turns(n=2, n_epochs=2, every=4), sizes, settings)
