"""Statistics of short windows of training on a machine that others use too. Pure: numbers only.

Units: seconds, samples a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import msgspec
import numpy as np
from numpy.typing import NDArray

CONTENDED_SHARE = 0.05
"""A window in which runnable threads waited more than this share of their time is not ours."""
IDLE_DROP = 0.85
"""Without the kernel's waiting times: CPU per wall below this share of the size's best."""
CPU_BOUND = 0.9
MIN_WINDOWS = 5
N_BLOCKS = 9
"""Windows are pooled into at most so many blocks, whose median is the rate."""
SETTLED = 0.01
"""Half an interval's width, relative, at which a size needs no more windows."""
TIE = 0.05
"""Sizes are never a tie when their estimates differ by more, however wide the intervals are."""
N_RESAMPLES = 2000
LEVEL = 0.95


class Window(msgspec.Struct, kw_only=True, frozen=True):
    """One window. ``waited_s``: time that threads were ready but had no core, None if unknown.

    ``stolen_s``: time that the hypervisor or a CPU quota took from the whole machine.
    """

    round: int
    n_steps: int
    n_samples: int
    wall_s: float
    cpu_s: float
    system_s: float
    n_page_faults: int
    waited_s: float | None = None
    stolen_s: float = 0.0

    @property
    def rate(self) -> float:
        """Samples a second."""
        return self.n_samples / self.wall_s


@dataclass(frozen=True, slots=True)
class Estimate:
    """A median with its bootstrap interval at 95%."""

    value: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        """Half of the interval's width, relative to the value."""
        return (self.high - self.low) / 2 / self.value

    def overlaps(self, other: Estimate) -> bool:
        """Say whether the intervals have a point in common."""
        return self.low <= other.high and other.low <= self.high


@dataclass(frozen=True, slots=True)
class Speed:
    """What a size's windows say.

    Attributes:
        rate: Samples a second.
        step_s: Seconds a step, at the mean number of samples a step.
        n_used: Windows that the estimate rests on.
        n_rejected: Windows with contention.
        is_busy: Too few windows were free of contention: the least contended were used.
        cpu_share: CPU seconds per wall second.
        system_share: Share of the CPU time spent in the kernel.
        faults_per_step: Page faults without disk access.
    """

    rate: Estimate
    step_s: Estimate
    n_used: int
    n_rejected: int
    is_busy: bool
    cpu_share: float
    system_share: float
    faults_per_step: float


def contention(window: Window, threads: int) -> float | None:
    """Return the share of its threads' time that a window lost to others, None if unknown."""
    if window.waited_s is None:
        return None
    # A thread that sleeps does not wait, so the wall time of all threads is the fair measure.
    return (window.waited_s + window.stolen_s) / (window.wall_s * threads)


def uncontended(windows: Sequence[Window], threads: int) -> list[bool]:
    """Say of each window of ONE size whether the machine was ours."""
    if not windows:
        return []
    use = [w.cpu_s / w.wall_s for w in windows]
    best = float(np.quantile(use, 0.9))
    verdicts = []
    for window, cpu_share in zip(windows, use, strict=True):
        lost = contention(window, threads)
        verdicts.append(
            lost <= CONTENDED_SHARE if lost is not None else cpu_share >= IDLE_DROP * best
        )
    return verdicts


def select(windows: Sequence[Window], threads: int) -> tuple[list[Window], bool]:
    """Return the windows to trust, and whether the machine was too busy to be choosy."""
    free = [w for w, ok in zip(windows, uncontended(windows, threads), strict=True) if ok]
    if len(free) >= min(MIN_WINDOWS, len(windows)):
        return free, False

    def lost(window: Window) -> float:
        share = contention(window, threads)
        return -window.cpu_s / window.wall_s if share is None else share

    return sorted(windows, key=lost)[:MIN_WINDOWS], True


def estimate_speed(windows: Sequence[Window], threads: int, seed: int = 0) -> Speed | None:
    """Return a size's speed, or None without windows."""
    used, is_busy = select(windows, threads)
    if not used:
        return None
    bound = [w for w in windows if _is_cpu_bound(w)]
    corrected = is_busy and threads == 1 and len(bound) >= min(MIN_WINDOWS, len(windows))
    used = bound if corrected else used
    rate = bootstrap_median(block_rates(used, by_cpu_time=corrected), seed)
    per_step = sum(w.n_samples for w in used) / sum(w.n_steps for w in used)
    wall = sum(w.wall_s for w in used)
    cpu = sum(w.cpu_s for w in used)
    return Speed(
        rate=rate,
        step_s=Estimate(per_step / rate.value, per_step / rate.high, per_step / rate.low),
        n_used=len(used),
        n_rejected=len(windows) - len(used),
        is_busy=is_busy,
        cpu_share=cpu / wall,
        system_share=sum(w.system_s for w in used) / max(cpu, 1e-9),
        faults_per_step=sum(w.n_page_faults for w in used) / sum(w.n_steps for w in used),
    )


def block_rates(windows: Sequence[Window], *, by_cpu_time: bool = False) -> list[float]:
    """Return the rates of blocks of consecutive windows: their samples by their time.

    An epoch is the sum of its steps' times, so it runs at the mean time a sample, and on a machine
    whose speed wavers that is more than the median window's. The mean within a block has the
    epoch's bias, and the median over blocks is not moved by one that was disturbed: the median of
    means (Lugosi and Mendelson 2019, arXiv:1906.04280, section 2.1).
    """
    n_blocks = min(N_BLOCKS, len(windows))
    edges = [round(i * len(windows) / n_blocks) for i in range(n_blocks + 1)]
    blocks = [windows[low:high] for low, high in pairwise(edges)]
    return [
        sum(w.n_samples for w in block) / sum(w.cpu_s if by_cpu_time else w.wall_s for w in block)
        for block in blocks
    ]


def _is_cpu_bound(window: Window) -> bool:
    """Say whether the window's one thread was always either running or waiting for a core.

    Then its CPU time is what the wall time would have been on a quiet machine. With more threads
    there is no such correction: they wait for each other.
    """
    if window.waited_s is None or window.cpu_s <= 0:
        return False
    return window.cpu_s + window.waited_s + window.stolen_s >= CPU_BOUND * window.wall_s


def bootstrap_median(values: Sequence[float], seed: int = 0) -> Estimate:
    """Return the median with its percentile bootstrap interval (Efron and Tibshirani 1993, 13.3).

    Args:
        values: At least one number; with one the interval is that number.
        seed: Of the resampling, so that the same windows always give the same interval.
    """
    data: NDArray[np.float64] = np.asarray(values, dtype=np.float64)
    generator = np.random.default_rng(seed)
    medians = np.median(generator.choice(data, (N_RESAMPLES, len(data))), axis=1)
    low, high = np.quantile(medians, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(float(np.median(data)), float(low), float(high))


def has_settled(windows: Sequence[Window], threads: int) -> bool:
    """Say whether more windows of this size would change little."""
    if sum(uncontended(windows, threads)) < MIN_WINDOWS:
        return False
    speed = estimate_speed(windows, threads)
    return speed is not None and speed.rate.half_width <= SETTLED


def best_of_ties(estimates: dict[int, Estimate], *, highest: bool) -> tuple[int, list[int]]:
    """Return the smallest size that ties with the best, and all that tie, ascending.

    Args:
        estimates: By batch size; not empty.
        highest: Whether more is better.
    """
    pick = max if highest else min
    best = pick(estimates.values(), key=lambda e: e.value)
    ties = sorted(
        size
        for size, found in estimates.items()
        if found.overlaps(best) and abs(found.value - best.value) <= TIE * best.value
    )
    return ties[0], ties
