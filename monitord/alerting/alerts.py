"""Alerts: which rules hold for which runs, each told once, also across restarts."""

from __future__ import annotations

import contextlib
import json
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from diagnostics.contract.atomic import write_atomic
from diagnostics.contract.errors import BlobwatchError
from monitord.alerting.delivery import Courier
from monitord.alerting.rules import Rule
from monitord.fleet import Fleet
from monitord.reading.runs import Run
from monitord.series import BLOB_COUNT
from monitord.states import ENDED, State
from monitord.terminal.filters import FilterError, check_names, matches
from monitord.terminal.lettering import plain_text
from monitord.terminal.rows import Row, make_row

logger = logging.getLogger(__name__)

MAX_REMEMBERED = 200_000
CLOCK_S = 1.0
"""How often conditions on silence and time left are looked at without news."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One alert, as commands and webhooks get it (JSON).

    Attributes:
        condition: Of the rule, such as ``diverged``.
        rule: The rule in words, such as ``test.scaled_loss<9``.
        run: Name of the run.
        folder: Its folder.
        state: Its state.
        reason: Why it is in that state.
        epoch: Its last epoch.
        loss: Its last loss, or None.
        best: Its least loss, or None.
        at: When, ISO 8601 in UTC.
    """

    condition: str
    rule: str
    run: str
    folder: str
    state: str
    reason: str
    epoch: int
    loss: float | None
    best: float | None
    at: str

    def sentence(self) -> str:
        """Return the alert for people, safe for a terminal."""
        return plain_text(f"{self.run}: {self.rule} (epoch {self.epoch}; {self.reason})", 400)


def holds(rule: Rule, run: Run, row: Row) -> bool:
    """Return whether the condition of ``rule`` is true of a run now."""
    match rule.on:
        case "threshold":
            return bool(run.columns.n_epochs) and matches(rule.when, run, row)
        case "nonfinite":
            return any(marks.any() for marks in run.columns.nonfinite().values())
        case "blobs_born":
            return row.born is not None
        case "blobs_lost":
            return _blobs_lost(run)
        case "plateau":
            return row.state not in ENDED and _plateau(rule, run)
        case _:
            return row.state == State(rule.on)


def _blobs_lost(run: Run) -> bool:
    counts = run.columns.get(BLOB_COUNT)
    if counts is None or not counts.size or not np.isfinite(counts[-1]):
        return False
    return bool(counts[-1] <= 1 < counts[np.isfinite(counts)].max())


def _plateau(rule: Rule, run: Run) -> bool:
    values = run.columns.get(rule.metric)
    if values is None or len(values) <= rule.epochs:
        return False
    before, recent = values[: -rule.epochs], values[-rule.epochs :]
    before, recent = before[np.isfinite(before)], recent[np.isfinite(recent)]
    if not before.size or not recent.size:
        return False
    best = before.min()
    return bool(recent.min() > best - rule.change * abs(best))


class Alerts:
    """Follows the runs, and tells each alert once for each run and each of its restarts."""

    def __init__(
        self,
        read: Callable[[], list[Rule]],
        memory: Path | None,
        *,
        announce: Callable[[str, bool], None],
        hear: Callable[[Alert], None] | None = None,
    ) -> None:
        """Read the rules and remember what was told.

        Args:
            read: Reads the rules; called again on SIGHUP.
            memory: File that holds what was told, or None to forget at the end.
            announce: Takes a sentence and whether to ring the bell.
            hear: Takes each alert itself, if given.
        """
        self._read = read
        self.rules = read()
        self._memory = memory
        self._announce, self._hear = announce, hear
        self._told, self._followed = self._recall()
        self._unchecked = True
        self._seen: dict[str, int] = {}
        self._version = -1
        self.courier = Courier()
        self.due_at = math.inf
        self.reload_requested: Callable[[], bool] = lambda: False

    def follow(self, fleet: Fleet, changed: Sequence[Run], now_s: float) -> None:
        """Look at the runs that changed since the last time."""
        is_tick = now_s >= self.due_at
        if self.reload_requested():
            self._reload()
            self._seen.clear()
        elif fleet.version == self._version and not is_tick:
            return
        self._version = fleet.version
        clocked = [rule for rule in self.rules if rule.follows_clock]
        if is_tick or not clocked or self.due_at == math.inf:
            self.due_at = now_s + CLOCK_S if clocked else math.inf
        self._check_names(fleet)
        told = self._told
        fresh: list[tuple[Rule, Alert]] = []
        n_before = len(told)
        new = {rule.key for rule in self.rules} - self._followed
        for run in fleet.runs:
            is_news = self._seen.get(run.id) != run.version
            rules = self.rules if is_news else clocked if is_tick else []
            if not rules:
                continue
            self._seen[run.id] = run.version
            row = make_row(run, now_s)
            for rule in rules:
                mark = _mark(rule, run)
                if mark in told or not matches(rule.runs, run, row) or not holds(rule, run, row):
                    continue
                told[mark] = None
                # To a rule that was never followed, what is over is no news
                if not (rule.key in new and row.silent_s is None):
                    fresh.append((rule, _alert(rule, run, row)))
        self._followed |= new
        if new or len(told) != n_before or (self._memory and not self._memory.exists()):
            self._remember()
        for rule, alert in fresh:
            self._deliver(rule, alert)

    def close(self) -> None:
        """End the deliveries that are under way."""
        self.courier.close()

    def _deliver(self, rule: Rule, alert: Alert) -> None:
        kinds = {delivery.kind for delivery in rule.deliver}
        if "log" in kinds:
            logger.warning("alert: %s", alert.sentence())
        self._announce(alert.sentence(), "bell" in kinds)
        if self._hear is not None:
            self._hear(alert)
        for delivery in rule.deliver:
            if delivery.kind in ("command", "webhook"):
                self.courier.send(delivery, asdict(alert))

    def _reload(self) -> None:
        try:
            self.rules = self._read()
        except BlobwatchError as error:
            logger.warning("the alert rules stay as they were: %s", error)
        else:
            self._unchecked = True
            logger.info("read %d alert rules anew", len(self.rules))

    def _check_names(self, fleet: Fleet) -> None:
        """Warn once of names that no run has: such a rule never holds, or not yet."""
        if not self._unchecked or not any(run.columns.n_epochs for run in fleet.runs):
            return
        self._unchecked = False
        for rule in self.rules:
            try:
                check_names([c.name for c in (*rule.when, *rule.runs)], fleet.runs, "alert rule")
            except FilterError as error:
                logger.warning("%s so far", error)
                self._announce(f"{error} so far", False)

    def _recall(self) -> tuple[dict[str, None], set[str]]:
        """Return what was told, and the rules that were followed."""
        try:
            found = json.loads(self._memory.read_bytes()) if self._memory is not None else {}
        except (OSError, ValueError, RecursionError):
            found = {}
        kept = found if isinstance(found, dict) else {}
        told, rules = (
            each if isinstance(each, list) else [] for each in (kept.get("told"), kept.get("rules"))
        )
        return dict.fromkeys(map(str, told)), set(map(str, rules))

    def _remember(self) -> None:
        if self._memory is None:
            return
        kept = list(self._told)[-MAX_REMEMBERED:]
        data = json.dumps({"told": kept, "rules": sorted(self._followed)}, indent=0).encode()
        with contextlib.suppress(OSError):
            write_atomic(self._memory, data, sync=False)


def _mark(rule: Rule, run: Run) -> str:
    standing = run.standing
    identity, started = standing.run_id or run.folder, standing.started_at or ""
    text = f"{rule.key} | {identity} {started} {len(run.restarts)}"
    return text.encode("utf-8", "backslashreplace").decode()


def _alert(rule: Rule, run: Run, row: Row) -> Alert:
    return Alert(
        condition=rule.on,
        rule=rule.text or rule.key,
        run=row.name,
        folder=row.folder,
        state=row.state.value,
        reason=row.reason,
        epoch=row.epoch,
        loss=row.loss_last,
        best=row.loss_best,
        at=datetime.now(UTC).isoformat(timespec="milliseconds"),
    )
