"""How well the profiler's throughput agrees with real runs; not part of ``make bench``: 8 minutes.

The profile of a preset, as the command makes it; between its rounds of windows real runs at its
smallest and largest size (the slowest and the fastest) take turns; 20 of their epochs count. So
both see the same machine, however it drifts. Once with PyTorch's threads, once with one. The real
runs are without diagnostics, which the rate does not contain. Those of the reference preset have
epochs of 80,000 samples, so that they take turns as often as the windows do.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.paced_run import PacedRun
from benchmarks.table import Row
from profiler.api import Profile
from profiler.backend import ProcessBackend, TrialProcess
from profiler.measure import Speed, estimate_speed
from profiler.plan import default_sizes
from profiler.progress import NoProgress
from profiler.settings import Settings
from trainer.config import load_config

AGREEMENT = 0.03


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


def agreement(
    preset: str, turns: Turns, sizes: Sequence[int], settings: Settings, **overrides: Any
) -> list[Row]:
    """Return rows on the throughput at the smallest and the largest size.

    ``overrides`` are the real runs' own. The same rule says of windows and of epochs which of them
    had the machine to themselves.
    """
    extremes = [min(sizes), max(sizes)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        runs = [
            PacedRun(
                preset, folder / str(size), batch_size=size, epochs=turns.n * turns.n_epochs,
                enable_diagnostics=False, save_plots=False, save_model=False,
                threads=settings.threads, **overrides,
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


def measure() -> list[Row]:
    """Measure all rows of this file."""
    sizes = default_sizes(load_config("quick_3blob"))
    rows = []
    for threads in (None, 1):
        settings = Settings(
            test_epochs=1, windows_s=110, busy_windows_s=110, pictures=False, threads=threads
        )
        rows += agreement("quick_3blob", Turns(n=20, n_epochs=2, every=1), sizes, settings)
    settings = Settings(test_epochs=1, windows_s=170, busy_windows_s=170, pictures=False)
    sizes = default_sizes(load_config("reference_3blob"))
    turns = Turns(n=12, n_epochs=2, every=1)
    return rows + agreement("reference_3blob", turns, sizes, settings, n_train=80_000)
