"""How well the profiler's throughput agrees with real runs; not part of ``make bench``: 15 minutes.

The profile of a preset, as the command makes it. Before each window of its smallest and its largest
size (the slowest and the fastest) a real run of that size has a turn, so both see the same machine,
however it drifts. Once with PyTorch's threads, once with one. The real runs are without
diagnostics, which the rate does not contain. Those of the reference preset have epochs of 80,000
samples, so that they take turns as often as the windows do.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.paced_run import PacedRun
from benchmarks.table import Row
from profiler.api import Profile
from profiler.backend import ProcessBackend, TrialProcess
from profiler.measure import (
    Estimate,
    Speed,
    Window,
    block_rates,
    bootstrap_median,
    estimate_speed,
    uncontended,
)
from profiler.plan import default_sizes, round_order
from profiler.progress import NoProgress
from profiler.settings import Settings
from trainer.config import load_config

AGREEMENT = 0.03
TURN_EPOCHS = 2
"""The first of them wakes caches and threads up and is not counted, as in a window."""


class TakingTurns:
    """The profiler's own back-end; before a window of some sizes the real run has its turn."""

    def __init__(self, runs: Mapping[int, PacedRun], sizes: Sequence[int]) -> None:
        """Let ``runs``, by batch size, take turns with the windows of all ``sizes``."""
        self._real = ProcessBackend()
        self._runs, self._sizes = runs, sorted(sizes)
        self._n_windows = 0

    def start(self) -> TrialProcess:
        return self._real.start()

    def wait_for_cores(self, threads: int, limit_s: float) -> None:
        number, position = divmod(self._n_windows, len(self._sizes))
        run = self._runs.get(round_order(self._sizes, number)[position])
        if run is not None:
            run.turn(TURN_EPOCHS)
        self._n_windows += 1
        self._real.wait_for_cores(threads, limit_s)


def agreement(preset: str, sizes: Sequence[int], settings: Settings, **overrides: Any) -> list[Row]:
    """Return rows on the throughput at the smallest and the largest size.

    ``overrides`` are the real runs' own.
    """
    extremes = [min(sizes), max(sizes)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        runs = {
            size: PacedRun(
                preset, folder / str(size), batch_size=size, epochs=10_000,
                enable_diagnostics=False, save_plots=False, save_model=False,
                threads=settings.threads, **overrides,
            )
            for size in extremes
        }  # fmt: skip
        try:
            config = load_config(preset, {"data.device": "cpu"})
            profile = Profile(config, sizes, settings, folder / "profile.md")
            found = profile.run(TakingTurns(runs, sizes), NoProgress())
        finally:
            for run in runs.values():
                run.close()
    rows = []
    for size, run in runs.items():
        trial = found.record.trial(size)
        assert trial is not None
        real = estimate_speed(run.epochs, trial.threads)
        assert real is not None
        ratio = ratio_in_turn(trial.windows, run.epochs, trial.threads)
        rows.append(
            Row(
                f"{preset}, batch {size:,}, {trial.threads} threads: profile against real epochs",
                _rate(found.analysis.speeds[size]),
                f"{_rate(real)}; ratio {ratio.low:.3f} to {ratio.high:.3f}",
                ratio.value,
                f"within {AGREEMENT:.0%}",
                abs(ratio.value - 1) <= AGREEMENT,
            )
        )
    return rows


def ratio_in_turn(windows: Sequence[Window], epochs: Sequence[Window], threads: int) -> Estimate:
    """Return the ratio of the rates of windows and epochs that took turns.

    Turns in which either had to share the machine do not count, by the profiler's own rule; the
    rest are pooled into blocks as its rate is, and the median block is taken.
    """
    kept = [
        pair
        for *pair, mine, theirs in zip(
            windows, epochs, uncontended(windows, threads), uncontended(epochs, threads),
            strict=True,
        )
        if mine and theirs
    ]  # fmt: skip
    mine, theirs = (block_rates(side) for side in zip(*kept, strict=True))
    return bootstrap_median([a / b for a, b in zip(mine, theirs, strict=True)])


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
            test_epochs=1, windows_s=150, busy_windows_s=150, pictures=False, threads=threads
        )
        rows += agreement("quick_3blob", sizes, settings)
    settings = Settings(test_epochs=1, windows_s=480, busy_windows_s=480, pictures=False)
    sizes = default_sizes(load_config("reference_3blob"))
    return rows + agreement("reference_3blob", sizes, settings, n_train=80_000)
