"""The host of the worker process: gives it epochs, enforces time limits, starts it again."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from diagnostics.consumer.messages import Began, Done, Ready, Task
from diagnostics.consumer.worker_process import START_LIMIT_S, WorkerGoneError, WorkerProcess
from diagnostics.contract.events import EpochEnded, encode_event
from diagnostics.contract.folder import RunFolder
from diagnostics.contract.snapshot import Part, SnapshotHeader

logger = logging.getLogger(__name__)

MAX_FAULTS = 3
"""After so many hangs or crashes in a row, a diagnostic is left out for the rest of the run."""
MAX_STARTS = 10
"""So often is the worker started for one epoch before the rest of its diagnostics is given up."""
CLOSING_S = 1.0


@dataclass(slots=True)
class Outcome:
    """What the diagnostics gave for one epoch.

    Attributes:
        fields: All fields together.
        errors: Diagnostic to reason, for those whose fields are missing.
        owners: Field to the diagnostic that gave it.
    """

    fields: dict[str, Any] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)

    def add(self, done: Done) -> None:
        """Add what one diagnostic gave; of two that give a field, the first keeps it."""
        if done.error is not None:
            self.errors[done.name] = done.error
            return
        for key, value in (done.fields or {}).items():
            owner = self.owners.setdefault(key, done.name)
            if owner == done.name:
                self.fields[key] = value
            else:
                self.errors[done.name] = f"field {key} is given by {owner} already"


class Host:
    """Runs the diagnostics of a run in a process that may be killed."""

    def __init__(self, folder: RunFolder, environment: Mapping[str, str] | None = None) -> None:
        """Prepare; the worker starts at once, in the background.

        Args:
            folder: The run, whose configuration says which diagnostics.
            environment: Variables of the worker beside those of this process.
        """
        self._folder = folder
        self._environment = dict(environment or {})
        self._ready: Ready | None = None
        self._faults: dict[str, int] = {}
        self._left_out: dict[str, str] = {}
        self._worker = self._start()

    @property
    def is_alive(self) -> bool:
        """Whether the worker process is there."""
        return self._worker.is_alive

    @property
    def pid(self) -> int:
        """The worker process's number."""
        return self._worker.pid

    def poll_needs(self) -> tuple[Part, ...] | None:
        """Return what the diagnostics need of the snapshot; None while they are being loaded."""
        if self._ready is None and self._worker.has_answer():
            with contextlib.suppress(WorkerGoneError):
                self._wait_ready()
        return None if self._ready is None else self._ready.needs

    def compute(
        self,
        event: EpochEnded,
        header: SnapshotHeader,
        frames: list[bytes] | list[memoryview],
        previous: dict[str, Any],
        *,
        last: bool,
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """Run all diagnostics on an epoch.

        Returns:
            Their fields together, and name to reason for those whose fields are missing.
        """
        outcome = Outcome()
        pending: list[str] | None = None
        for _ in range(MAX_STARTS):
            try:
                ready = self._wait_ready()
            except WorkerGoneError as error:
                reason = str(error)
                self._restart()
                continue
            if pending is None:
                outcome.errors |= ready.errors
                pending = [name for name in ready.names if self._may_run(name, outcome.errors)]
            pending = [name for name in pending if name in ready.names]
            if not pending:
                break
            task = Task(
                record=encode_event(event),
                header=header,
                n_frames=len(frames),
                names=tuple(pending),
                previous=previous,
                fields=outcome.fields,
                last=last,
            )
            reason = self._perform(task, frames, pending, outcome)
        for name in pending if pending is not None else ("worker",):
            outcome.errors[name] = reason
        return outcome.fields, outcome.errors | self._left_out

    def close(self) -> None:
        """End the worker; calling it again does nothing."""
        self._worker.close(CLOSING_S)

    def _may_run(self, name: str, errors: dict[str, str]) -> bool:
        if self._faults.get(name, 0) < MAX_FAULTS:
            return True
        errors[name] = f"left out after {MAX_FAULTS} hangs or crashes in a row"
        return False

    def _perform(
        self,
        task: Task,
        frames: list[bytes] | list[memoryview],
        pending: list[str],
        outcome: Outcome,
    ) -> str:
        """Let the worker compute ``pending``, which is emptied as far as it got.

        Returns:
            Why it did not get to the end, or an empty text.
        """
        current: str | None = None
        try:
            self._worker.send(task, frames)
            while pending:
                message = self._worker.receive(self._limit(current))
                if isinstance(message, Began):
                    current = message.name
                elif isinstance(message, Done):
                    pending.remove(message.name)
                    self._faults[message.name] = 0
                    outcome.add(message)
                    current = None
        except (WorkerGoneError, OSError) as error:
            reason = str(error)
            if current is not None:
                pending.remove(current)
                self._faults[current] = self._faults.get(current, 0) + 1
                outcome.errors[current] = reason
            logger.warning("diagnostic %s: %s; the worker is started again", current, reason)
            self._restart()
            return reason
        return ""

    def _limit(self, name: str | None) -> float:
        if name is None or self._ready is None:
            return START_LIMIT_S
        return self._ready.limits.get(name, START_LIMIT_S)

    def _wait_ready(self) -> Ready:
        """Wait until the diagnostics are loaded; one that kills the worker by that is left out."""
        loading: str | None = None
        while self._ready is None:
            try:
                message = self._worker.receive(START_LIMIT_S)
            except WorkerGoneError as error:
                if loading is not None:
                    self._left_out[loading] = f"cannot be loaded: {error}"
                    logger.warning("diagnostic %s %s", loading, self._left_out[loading])
                raise
            if isinstance(message, Began):
                loading = message.name
            elif isinstance(message, Ready):
                self._ready = message
                for name, reason in message.errors.items():
                    logger.warning("diagnostic %s cannot run: %s", name, reason)
        return self._ready

    def _start(self) -> WorkerProcess:
        return WorkerProcess(self._folder.root, [*self._left_out], self._environment)

    def _restart(self) -> None:
        self._worker.close()
        self._ready = None
        self._worker = self._start()
