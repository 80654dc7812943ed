"""What each panel shows: its series, which are strong and which faint, and its value axis. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from monitord import series
from monitord.draw import style
from monitord.draw.decimation import Floats
from monitord.draw.ticks import Tick, linear_ticks, log_ticks
from monitord.series import RunSeries

# Values beyond are drawn here: spans and transforms of larger ones overflow.
FAR = 1e300
LOG_FROM_RATIO = 1000.0
"""Losses whose largest is so many times the smallest are drawn logarithmically."""


class Scale(Enum):
    """How the values of a panel are laid out."""

    UNIT = "unit"
    COUNT = "count"
    SIGNED = "signed"
    LOSS = "loss"


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One series in a panel: ``label`` stands at its end, ``faint`` puts it behind the others."""

    series: str
    label: str
    colour: str
    faint: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One panel's subject. ``absence`` says why such a series may have no value at all."""

    title: str
    curves: tuple[Curve, ...]
    scale: Scale
    needs_diagnostics: bool = False
    absence: str = "no values"


def _pair(all_pairs: str, sampled: str) -> tuple[Curve, ...]:
    """Return the curves of a diagnostic: the truth over all pairs, and the guide's sample."""
    return (
        Curve(series=all_pairs, label="all pairs", colour=style.BLUE),
        Curve(series=sampled, label="sampled", colour=style.NOTE, faint=True),
    )


GUIDE_SUBJECTS = (
    Subject(
        title="Silhouette score",
        curves=_pair(series.BLOB_SILHOUETTE, series.SAMPLED_SILHOUETTE),
        scale=Scale.UNIT,
        needs_diagnostics=True,
        absence="fewer than two clusters",
    ),
    Subject(
        title="Number of clusters",
        curves=_pair(series.BLOB_COUNT, series.SAMPLED_COUNT),
        scale=Scale.COUNT,
        needs_diagnostics=True,
    ),
    Subject(
        title="Weight correlation",
        curves=_pair(series.BLOB_CORRELATION, series.SAMPLED_CORRELATION),
        scale=Scale.SIGNED,
        needs_diagnostics=True,
    ),
    Subject(
        title="Scaled loss",
        curves=(
            Curve(series=series.TEST_LOSS, label="test", colour=style.BLUE),
            Curve(series=series.TRAIN_LOSS, label="train", colour=style.VERMILLION),
        ),
        scale=Scale.LOSS,
    ),
)


def metric_subject(name: str) -> Subject:
    """Return the subject of one series by its dotted name."""
    counted = name.rsplit(".", 1)[-1].startswith(("n_", "num_"))
    return Subject(
        title=name,
        curves=(Curve(series=name, label="", colour=style.BLUE),),
        scale=Scale.COUNT if counted else Scale.LOSS,
    )


def has_values(run: RunSeries, name: str) -> bool:
    """Say whether ``run`` has at least one finite value of the series ``name``."""
    return name in run.values and bool(np.isfinite(run.values[name]).any())


def shown_curves(subject: Subject, run: RunSeries) -> tuple[Curve, ...]:
    """Return the curves of ``subject`` that ``run`` has values for.

    A sampled series that stands alone, as in other trainers' files, is drawn strong.
    """
    present = [curve for curve in subject.curves if has_values(run, curve.series)]
    if present and all(curve.faint for curve in present):
        present = [
            Curve(series=curve.series, label=curve.label, colour=style.BLUE) for curve in present
        ]
    return tuple(present)


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueAxis:
    """The range and the ticks of a value axis; ``log`` means that positions are log10."""

    low: float
    high: float
    ticks: list[Tick]
    log: bool = False

    def positions(self, y: Floats) -> Floats:
        """Return where the values ``y`` lie on this axis; NaN for those that are not finite."""
        if not self.log:
            return np.where(np.isfinite(y), np.clip(y, -FAR, FAR), np.nan)
        positions: Floats = np.log10(np.where(y > 0, y, np.nan))
        return positions


def value_axis(
    scale: Scale, arrays: Sequence[Floats], *, log_y: bool, height_in: float
) -> ValueAxis:
    """Return an axis that shows all finite values of ``arrays``.

    Losses get a logarithmic one with ``log_y``, and where they span so much that a linear one would
    show a single value: a run that diverged. It needs all values above zero.
    """
    bounds = [(float(a.min()), float(a.max())) for a in map(_finite, arrays) if a.size]
    low = max(min((bound[0] for bound in bounds), default=0.0), -FAR)
    high = min(max((bound[1] for bound in bounds), default=1.0), FAR)
    n_ticks = max(3, min(6, int(height_in / 0.33)))
    if scale is Scale.LOSS and low > 0 and (log_y or high / low >= LOG_FROM_RATIO):
        low, high = math.log10(low), math.log10(high)
        pad = max(0.05 * (high - low), 0.02)
        low, high = low - pad, high + pad
        return ValueAxis(low=low, high=high, ticks=log_ticks(low, high, n_ticks), log=True)
    if scale is Scale.COUNT:
        low, high = min(low, 0.0), max(high, 3.0)
        low, high = low, high + max(0.06 * (high - low), 0.25)
        return ValueAxis(low=low, high=high, ticks=linear_ticks(low, high, n_ticks, integers=True))
    low, high = _padded(scale, low, high)
    return ValueAxis(low=low, high=high, ticks=linear_ticks(low, high, n_ticks))


def _padded(scale: Scale, low: float, high: float) -> tuple[float, float]:
    """Return the range to show for values from ``low`` to ``high`` on a linear axis."""
    if scale is Scale.UNIT:
        return (min(low, 0.0) * 1.05, max(high, 1.0))
    if scale is Scale.SIGNED:
        low, high = min(low, 0.0), max(high, 0.0)
        pad = max(0.08 * (high - low), 0.02)
        return (low - pad, high + pad)
    span = high - low
    pad = 0.12 * span if span > 0 else max(0.1 * abs(low), 1e-6)
    bottom = 0.0 if 0 <= low < 0.35 * high else low - pad
    return bottom, high + pad


def _finite(y: Floats) -> Floats:
    """Return the finite values of ``y``."""
    return y[np.isfinite(y)]
