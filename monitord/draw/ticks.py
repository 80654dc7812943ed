"""Where the ticks of an axis lie and what they say. Pure; matplotlib's own are ten times slower."""

from __future__ import annotations

import math

from monitord.draw.lettering import tidy

Tick = tuple[float, str]
NICE_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


def linear_ticks(low: float, high: float, n_most: int, *, integers: bool = False) -> list[Tick]:
    """Return at most ``n_most`` round ticks in [``low``, ``high``], with their texts."""
    span = high - low
    if not span > 0 or not math.isfinite(span):
        return []
    power = 10.0 ** math.floor(math.log10(span / max(n_most, 2)))
    power = max(power, 1.0) if integers else power
    for step in (nice * factor for factor in (power, 10.0 * power) for nice in NICE_STEPS):
        if integers and step != int(step):
            continue
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first < n_most:
            break
    places = (index * step for index in range(first, last + 1))
    return [(place, _tick_text(place, step)) for place in places]


def _tick_text(value: float, step: float) -> str:
    """Return the text of one tick: as many decimals as the step needs, thousands as k and M."""
    if value == 0:
        return "0"
    if abs(value) >= 1e9 or step < 1e-4:
        return tidy(f"{value:.{_digits(value, step)}e}")
    for unit, suffix in ((1e6, "M"), (1e3, "k")):
        if step >= unit or (abs(value) >= 10 * unit and step >= unit / 10):
            return tidy(f"{value / unit:.{_decimals(step / unit)}f}") + suffix
    return tidy(f"{value:.{_decimals(step)}f}")


def _decimals(step: float) -> int:
    """Return how many decimals tell multiples of ``step`` apart."""
    return next((n for n in range(7) if abs(step * 10**n - round(step * 10**n)) < 1e-6), 6)


def _digits(value: float, step: float) -> int:
    """Return how many decimals a mantissa needs to tell multiples of ``step`` apart."""
    return min(max(math.floor(math.log10(abs(value))) - math.floor(math.log10(step)), 0) + 1, 12)


def log_ticks(low: float, high: float, n_most: int) -> list[Tick]:
    """Return ticks for an axis of log10 values in [``low``, ``high``]; positions are log10 too.

    Powers of ten, every second or third one on a long axis; also 2 and 5 times them on a short one.
    """
    first, last = math.ceil(low - 1e-9), math.floor(high + 1e-9)
    n_decades = last - first + 1
    if n_decades >= 3:
        stride = math.ceil(n_decades / n_most)
        return [(float(power), _power_text(power)) for power in range(first, last + 1, stride)]
    if high - low < math.log10(4):
        return [
            (math.log10(value), text)
            for value, text in linear_ticks(10**low, 10**high, n_most)
            if value > 0
        ]
    ticks = []
    for power in range(first - 1, last + 1):
        for factor in (1, 2, 5):
            place = power + math.log10(factor)
            if low - 1e-9 <= place <= high + 1e-9:
                ticks.append((place, _power_text(power, factor)))
    return ticks


def _power_text(power: int, factor: int = 1) -> str:
    """Return ``factor * 10**power`` as text: ``0.05``, ``200``, ``1e6``."""
    if -4 <= power <= 4:
        return tidy(f"{factor * 10.0**power:.{max(0, -power)}f}")
    return tidy(f"{factor}e{power}")
