"""Whether a size learned anything, and which loss can be a target. Pure: numbers only."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from profiler.efficiency import Curve, curve_noise, smoothed
from trainer.config import ExperimentConfig

Verdict = Literal["learned", "plateau", "too few steps", "unknown"]
LEARNED_DROP = 0.05
"""Part of the loss of predicting zero that must be gone before anything counts as learned; so must
half of what the best size got rid of."""
BEHIND = 0.05
"""A loss this much above the best one, relative, is behind it."""
STANDSTILL = 0.02
"""Relative fall over the last third of the steps below which a loss stands still."""


@dataclass(frozen=True, slots=True)
class Target:
    """The loss whose time is compared. ``source`` says where it is from."""

    loss: float
    source: str


def zero_loss(config: ExperimentConfig) -> float:
    """Return the loss of a network that always answers zero: the first plateau of every run."""
    k, weight, d = config.data.sparsity, config.loss.lambda_on, config.data.d
    if config.loss.loss_type == "scaled_mse":
        return k * weight
    # d (log of the mean of exp(e)), with e = lambda_on at k coordinates and 0 at the others,
    # written so that a large lambda_on does not overflow.
    return d * (weight + math.log(k + (d - k) * math.exp(-weight)) - math.log(d))


def judge(
    curves: Mapping[int, Curve], losses: Mapping[int, float], zero: float
) -> dict[int, Verdict]:
    """Return a verdict for each size from all sizes together.

    Args:
        curves: Training loss over steps, by size.
        losses: Final test loss, by size.
        zero: Loss of predicting zero.
    """
    if not losses:
        return {}
    best = min(losses.values())
    half_way = (zero + best) / 2
    return {
        size: _judge_one(size, curves, losses, best, min(half_way, (1 - LEARNED_DROP) * zero))
        if size in losses
        else "unknown"
        for size in curves
    }


def _judge_one(
    size: int, curves: Mapping[int, Curve], losses: Mapping[int, float], best: float, enough: float
) -> Verdict:
    curve, loss = curves[size], losses[size]
    learned = loss <= enough
    if learned and (loss <= (1 + BEHIND) * best or not stands_still(curve)):
        return "learned"
    # Behind the best one: with fewer steps than those took to get lower, it had no chance to.
    steps = curve[-1][0] if curve else 0.0
    others = [
        at
        for other, points in curves.items()
        if other != size and (at := _steps_below(points, loss)) is not None
    ]
    if not stands_still(curve):
        return "too few steps"
    return "plateau" if not others or min(others) <= steps else "too few steps"


def _steps_below(curve: Curve, loss: float) -> float | None:
    """Return the steps after which a curve was clearly below a loss."""
    return next((x for x, y in smoothed(curve) if y < loss * (1 - BEHIND)), None)


def stands_still(curve: Curve) -> bool:
    """Say whether the loss fell less over the last third of the steps than counts as progress."""
    n = len(curve)
    if n < 6:
        return True
    third = [loss for _, loss in curve[-(n // 3) :]]
    half = len(third) // 2
    early, late = sum(third[:half]) / half, sum(third[half:]) / (len(third) - half)
    # Two means of half of a third each: half of the fall over the whole third lies between them.
    return (early - late) * 2 < STANDSTILL * abs(early)


def level(curve: Curve) -> float | None:
    """Return the loss at the end of a curve, high enough to be crossed in spite of its noise."""
    if len(curve) < 2:
        return None
    end = [loss for _, loss in curve[-3:]]
    return sum(end) / len(end) + 2 * curve_noise(curve)


def choose_target(
    curves: Mapping[int, Curve], verdicts: Mapping[int, Verdict], own_size: int
) -> Target | None:
    """Return the loss that the configured size reached, or failing that half of those that learned.

    Args:
        curves: Training loss over steps, by size.
        verdicts: See `judge`.
        own_size: The configured size.
    """
    levels = {
        size: at
        for size, curve in curves.items()
        if verdicts.get(size) == "learned" and (at := level(curve)) is not None
    }
    if len(levels) < 2:
        return None
    if own_size in levels and any(
        at <= levels[own_size] for s, at in levels.items() if s != own_size
    ):
        return Target(
            _rounded_up(levels[own_size]), f"what the configured size {own_size:,} reached"
        )
    ordered = sorted(levels.values())
    reached = ordered[(len(ordered) - 1) // 2 if len(ordered) > 2 else 1]
    return Target(_rounded_up(reached), "what at least half of the sizes that learned reached")


def _rounded_up(loss: float) -> float:
    """Round up to three digits: a target that people can type."""
    if loss <= 0:
        return loss
    unit = 10.0 ** (math.floor(math.log10(loss)) - 2)
    return round(math.ceil(loss / unit) * unit, 12)


def at_steps(curve: Curve, steps: float) -> float | None:
    """Return the smoothed training loss after a number of steps, None beyond the curve."""
    points: Sequence[tuple[float, float]] = smoothed(curve)
    if (
        not points
        or steps
        > points[-1][0] + 0.5 * (points[-1][0] - points[-2][0] if len(points) > 1 else 1) + 0.5
    ):
        return None
    return min(points, key=lambda point: abs(point[0] - steps))[1]
