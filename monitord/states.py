"""The state of a run, from what is known of it: numbers in, a state and its reason out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from monitord.durations import in_words

RECENT_EPOCHS = 5


class State(StrEnum):
    """How a run stands."""

    RUNNING = "running"
    SLOW = "slow"
    DIVERGED = "diverged"
    STALLED = "stalled"
    WAITING = "waiting"
    UNREADABLE = "unreadable"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    FINISHED = "finished"


ENDED = frozenset({State.FAILED, State.INTERRUPTED, State.FINISHED})
ORDER = {state: place for place, state in enumerate(State)}
"""From what needs eyes now to what is over; tables are sorted by it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When silence becomes a state.

    Attributes:
        stalled_s: A run is never called stalled before this many seconds of silence.
        stalled_epochs: Nor before this many of its own median epoch times.
        slow_s: The same for slow.
        slow_epochs: The same for slow.
        diverged_factor: A loss this many times its best has diverged if it is above where it began,
            or has lost more than half of the way down, on a logarithmic scale, for
            ``diverged_epochs`` epochs.
        diverged_epochs: See above.
        diverged_loss: A loss beyond this has diverged in any case: also one that began there.
    """

    stalled_s: float = 60.0
    stalled_epochs: float = 5.0
    slow_s: float = 10.0
    slow_epochs: float = 2.5
    diverged_factor: float = 10.0
    diverged_epochs: int = 3
    diverged_loss: float = 1e12


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of a run.

    Attributes:
        n_epochs: Epochs so far.
        last_epoch: Number of the last one, 0 if there is none.
        n_planned: Epochs that it shall have, or None.
        status: What the run says of itself, or None.
        status_reason: Why it failed or was interrupted, or None.
        pid: Its process, or None.
        process_alive: Whether that process lives; None if it is on another host or unknown.
        unreadable: Why the file cannot be read at present, with since when, or None.
        nonfinite: Name of a loss that is not finite in the last epoch, or None.
        nonfinite_since: The first epoch of that, or None.
        loss_first: Loss of the first epoch; NaN if unknown.
        loss_best: Least loss; NaN if unknown.
        loss_last: Loss of the last epoch; NaN if unknown.
        losses: The losses of the last few epochs, at least `Limits.diverged_epochs` if known.
        epoch_s: The run's median time per epoch in seconds, or None.
        recent_epoch_s: The same over the last few epochs, or None.
        silent_s: Seconds since the last new data, by the monitor's clock.
        stage2: Where stage two stands, or None before it.
    """

    n_epochs: int = 0
    last_epoch: int = 0
    n_planned: int | None = None
    status: str | None = None
    status_reason: str | None = None
    pid: int | None = None
    process_alive: bool | None = None
    unreadable: str | None = None
    nonfinite: str | None = None
    nonfinite_since: int | None = None
    loss_first: float = math.nan
    loss_best: float = math.nan
    loss_last: float = math.nan
    losses: tuple[float, ...] = ()
    epoch_s: float | None = None
    recent_epoch_s: float | None = None
    silent_s: float = 0.0
    stage2: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """A state, why, and for how long it can hold.

    Attributes:
        state: The state.
        reason: Why, in a few words.
        holds_s: Seconds after which silence alone may change it; infinite for ended runs.
    """

    state: State
    reason: str
    holds_s: float = math.inf


def judge(facts: Facts, limits: Limits | None = None) -> Verdict:
    """Return the state of a run; the first rule that applies decides."""
    limits = limits or Limits()
    if facts.unreadable is not None:
        return Verdict(State.UNREADABLE, f"unreadable {facts.unreadable}")
    ended = _ended(facts)
    if ended is not None and ended.state is not State.FINISHED:
        return ended
    diverged = _diverged(facts, limits)
    if diverged is not None:
        over = ended is not None
        reason = f"{diverged}; the run completed" if over else diverged
        return Verdict(State.DIVERGED, reason, math.inf)
    return ended if ended is not None else _alive(facts, limits)


def _ended(facts: Facts) -> Verdict | None:
    why = facts.status_reason
    match facts.status:
        case "completed":
            return Verdict(State.FINISHED, f"completed at epoch {facts.last_epoch}")
        case "failed":
            return Verdict(State.FAILED, why or "the run says that it failed")
        case "interrupted":
            return Verdict(State.INTERRUPTED, why or "the run says that it was interrupted")
    if facts.process_alive is False:
        return Verdict(State.INTERRUPTED, f"process {facts.pid} is gone without a word")
    if facts.status is None and facts.n_planned and facts.last_epoch >= facts.n_planned:
        return Verdict(State.FINISHED, f"all {facts.n_planned} epochs are there")
    return None


def _diverged(facts: Facts, limits: Limits) -> str | None:
    if facts.nonfinite is not None:
        since = f" since epoch {facts.nonfinite_since}" if facts.nonfinite_since else ""
        return f"{facts.nonfinite} is not finite{since}"
    last, best, first = facts.loss_last, facts.loss_best, facts.loss_first
    if last > limits.diverged_loss:
        return f"loss {last:.3g} is beyond {limits.diverged_loss:g}"
    if facts.n_epochs < 2 or not best > 0 or not last > limits.diverged_factor * best:
        return None
    recent = facts.losses[-limits.diverged_epochs :]
    half_way = max(limits.diverged_factor * best, math.sqrt(first * best))
    lasts = len(recent) == limits.diverged_epochs and min(recent) > half_way
    return f"loss {last:.4g}, its best was {best:.4g}" if last > first or lasts else None


def _alive(facts: Facts, limits: Limits) -> Verdict:
    epoch_s = facts.epoch_s or 0.0
    stalled_s = max(limits.stalled_s, limits.stalled_epochs * epoch_s)
    slow_s = min(max(limits.slow_s, limits.slow_epochs * epoch_s), stalled_s)
    silent_s = facts.silent_s
    if silent_s >= stalled_s:
        usual = f", usual epoch {in_words(epoch_s)}" if epoch_s else ""
        alive = f"; process {facts.pid} is alive" if facts.process_alive else ""
        # no count of seconds here: the reason must not change while the state stays
        return Verdict(State.STALLED, f"silent for over {in_words(stalled_s)}{usual}{alive}")
    holds_s = stalled_s - silent_s
    if facts.n_epochs == 0:
        return Verdict(State.WAITING, "no epoch yet", holds_s)
    if silent_s >= slow_s:
        if epoch_s:
            usual = f"usual epoch {in_words(epoch_s)}"
            return Verdict(State.SLOW, f"silent for over {in_words(slow_s)}, {usual}", holds_s)
    else:
        holds_s = slow_s - silent_s
    recent_s = facts.recent_epoch_s
    if recent_s and epoch_s and recent_s > 2 * epoch_s and facts.n_epochs > 2 * RECENT_EPOCHS:
        reason = f"epochs take {in_words(recent_s)}, usually {in_words(epoch_s)}"
        return Verdict(State.SLOW, reason, holds_s)
    return Verdict(State.RUNNING, _progress(facts), holds_s)


def _progress(facts: Facts) -> str:
    of = f" of {facts.n_planned}" if facts.n_planned else ""
    return facts.stage2 or f"epoch {facts.last_epoch}{of}"


def time_left(facts: Facts) -> float | None:
    """Return the seconds that the run still needs, from its recent epochs, or None."""
    pace = facts.recent_epoch_s or facts.epoch_s
    if not pace or not facts.n_planned or facts.last_epoch >= facts.n_planned:
        return None
    waited = min(facts.silent_s, pace)
    return (facts.n_planned - facts.last_epoch) * pace - waited
