"""What a run says of itself, in its journal and in ``results.json``: its process, status, plan."""

from __future__ import annotations

from dataclasses import dataclass

from diagnostics.contract.events import RunEnded, RunStarted
from monitord.liveness import Process, parse_process
from monitord.reading.files import Document
from monitord.reading.snapshots import is_count
from monitord.reading.times import seconds_of


@dataclass(slots=True)
class Standing:
    """How a run stands by its own word.

    Attributes:
        status: As in ``results.json``, or None.
        reason: Why, or None.
        process: The latest training process, or None.
        n_planned: Epochs that it shall have, or None.
        n_segments: Training processes so far.
        run_id: The run's own name, the same in the journal and in ``results.json``, or None.
        started_at: When the first process began, as written there, or None.
        began: When the first began, seconds since 1970, or None.
    """

    status: str | None = None
    reason: str | None = None
    process: Process | None = None
    n_planned: int | None = None
    n_segments: int = 0
    run_id: str | None = None
    started_at: str | None = None
    began: float | None = None

    @property
    def is_over(self) -> bool:
        """Whether the run says that it has ended."""
        return self.status not in (None, "running")

    @property
    def running_process(self) -> Process | None:
        """The process that still trains by the run's own word, or None."""
        return self.process if self.status == "running" else None

    def take_start(self, event: RunStarted) -> None:
        """Take over that a training process began."""
        self.status, self.reason = "running", None
        process = event.process
        self.process = Process(process.host, process.pid, process.started_at)
        self.n_planned = event.epochs
        self.n_segments = max(self.n_segments, event.segment + 1)
        self.run_id = event.run_id
        if event.segment == 0:
            self.started_at, self.began = event.at, seconds_of(event.at)

    def take_end(self, event: RunEnded) -> None:
        """Take over that a training process ended, unless a later one is known."""
        if event.segment >= self.n_segments - 1:
            self.status, self.reason = event.status, event.reason

    def take_document(self, document: Document, has_journal: bool) -> list[int]:
        """Take over ``results.json``, unless the journal knows more.

        Returns:
            First epochs of the second and later training processes.
        """
        segments = document.segments if isinstance(document.segments, list) else []
        known = (self.run_id, self.started_at) if has_journal else (None, None)
        self.run_id = document.run_id if isinstance(document.run_id, str) else known[0]
        at = document.started_at
        self.started_at = at if isinstance(at, str) else known[1]
        began = seconds_of(at)
        self.began = self.began if began is None else began
        if is_count(document.epochs):
            self.n_planned = document.epochs
        if len(segments) < self.n_segments:
            return []
        if len(segments) == self.n_segments and has_journal and self.status != "running":
            return []
        self.n_segments = len(segments)
        status, reason = document.status, document.status_reason
        self.status = status if isinstance(status, str) else None
        self.reason = reason if isinstance(reason, str) else None
        self.process = parse_process(document.process)
        firsts = [part.get("first_epoch") for part in segments[1:] if isinstance(part, dict)]
        return [first for first in firsts if is_count(first)]
