"""The largest batch size that fits, found near its prediction. Units: bytes, samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from profiler.memory import fit_memory
from profiler.record import LimitRecord
from profiler.status import TrialFailure

RESOLUTION = 0.03
"""The search ends when the smallest size that did not fit is this close above one that did."""
MAX_PROBES = 16
MARGIN = 0.97
"""The first probe is a little below the prediction, so that it mostly fits."""


def find_largest(
    probe: Callable[[int], int | None],
    seen: Mapping[int, int],
    failed: int | None,
    budget_bytes: int,
    n_train: int,
) -> LimitRecord:
    """Bisect the largest size within the budget.

    Args:
        probe: Peak of a size, or None where it did not fit; a `TrialFailure` of another kind ends
            the search with what is known by then.
        seen: Peaks that are known already, by size.
        failed: The smallest size known not to fit.
        budget_bytes: What a trial may use.
        n_train: No batch is larger than an epoch.
    """
    peaks = {size: peak for size, peak in seen.items() if peak <= budget_bytes}
    # bad: the smallest size known not to fit; one more than an epoch is the natural end.
    bad = min([n_train + 1, *([failed] if failed else []), *(s for s in seen if s not in peaks)])
    good = max((size for size in peaks if size < bad), default=0)
    probes: list[tuple[int, int | None]] = []
    first: int | None = None
    stopped: str | None = None
    while len(probes) < MAX_PROBES and bad - good > max(1, RESOLUTION * good):
        predicted = _predicted(peaks, budget_bytes)
        first = first or predicted
        size = _next(good, bad, predicted, n_train, len(probes))
        try:
            peak = probe(size)
        except TrialFailure as failure:
            stopped = f"the search ended at {size:,}: {failure.message}"
            break
        fits = peak is not None and peak <= budget_bytes
        probes.append((size, peak if fits else None))
        if fits and peak is not None:
            peaks[size] = peak
            good = size
        else:
            bad = size
    reason = (
        f"{bad:,} does not fit the budget"
        if bad <= n_train
        else "a whole epoch (data.n_train) fits"
    )
    if good == 0:
        reason = "no size fits the budget"
    return LimitRecord(
        largest=good or None,
        refused=bad if bad <= n_train else None,
        probes=probes,
        predicted=first,
        reason=stopped or reason,
    )


def _predicted(peaks: Mapping[int, int], budget_bytes: int) -> int | None:
    model = fit_memory(list(peaks.items()))
    return None if model is None else model.largest_size(budget_bytes)


def _next(good: int, bad: int, predicted: int | None, n_train: int, n_probes: int) -> int:
    """Return the next size, strictly between the one that fits and the one that does not."""
    if bad > n_train and (predicted is None or predicted >= n_train):
        # Never far beyond what was measured in one leap: a line may bend.
        return min(n_train, max(good * 4, 1))
    if predicted is not None and good < predicted < bad and n_probes < 4:
        size = round(MARGIN * predicted)
        # At most fourfold as well; and above the prediction once its neighbourhood is known to fit.
        size = min(size, 4 * good) if good else size
        if size <= good * (1 + RESOLUTION / 2):
            size = round(predicted * (2 - MARGIN))
        if good < size < bad:
            return size
    # The geometric middle: what is known of a limit far away is its order of magnitude.
    middle = min(math.isqrt(max(good, 1) * bad), 4 * max(good, 1))
    return min(max(middle, good + 1), bad - 1)
