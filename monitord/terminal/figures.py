"""Numbers for people: short, aligned, with a dash for what is not there."""

from __future__ import annotations

import math

from monitord.series import Floats

_BARS = "▁▂▃▄▅▆▇█"
_NOT_FINITE = "\N{MULTIPLICATION SIGN}"


def number(value: float | None, digits: int = 4) -> str:
    """Return ``value`` with ``digits`` significant digits and at most 9 characters."""
    if value is None or not math.isfinite(value):
        return "-"
    size = abs(value)
    if size != 0 and not 1e-3 <= size < 1e6:
        return f"{value:.{digits - 2}e}"
    n_whole = max(1, math.floor(math.log10(size)) + 1) if size >= 1 else 1
    return f"{value:.{max(0, digits - n_whole)}f}"


def fixed(value: float | None, n_decimals: int) -> str:
    """Return ``value`` with a fixed number of decimals; switches to powers of ten if huge."""
    if value is None or not math.isfinite(value):
        return "-"
    return f"{value:.{n_decimals}f}" if abs(value) < 1e4 else f"{value:.1e}"


def sparkline(values: Floats) -> str:
    """Return a line of bars; on a logarithmic scale where all values are above zero.

    Args:
        values: float64 of shape (n,); NaN is shown as ``×``.
    """
    finite = [float(value) for value in values if math.isfinite(value)]
    if not finite:
        return _NOT_FINITE * len(values)
    logarithmic = min(finite) > 0 and max(finite) > 4 * min(finite)
    scaled = [_scaled(float(value), logarithmic) for value in values]
    known = [value for value in scaled if value is not None]
    low, high = min(known), max(known)
    span = (high - low) or 1.0
    top = len(_BARS) - 1
    return "".join(
        _NOT_FINITE if value is None else _BARS[round((value - low) / span * top)]
        for value in scaled
    )


def _scaled(value: float, logarithmic: bool) -> float | None:
    if not math.isfinite(value):
        return None
    return math.log(value) if logarithmic else value
