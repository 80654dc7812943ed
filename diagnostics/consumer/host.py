"""The host of the worker process: sends it epochs, enforces time limits, starts it again."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import msgspec

from diagnostics.consumer.messages import Began, Done, Ready, Task
from diagnostics.contract.events import EpochEnded, encode_event
from diagnostics.contract.folder import RunFolder
from diagnostics.contract.snapshot import Part, SnapshotHeader

logger = logging.getLogger(__name__)

START_LIMIT_S = 120.0
MAX_FAULTS = 3
"""After so many hangs or crashes in a row, a diagnostic is left out for the rest of the run."""
MAX_STARTS = 10
"""So often is the worker started for one epoch before the rest of its diagnostics is given up."""

Message = Ready | Began | Done
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)
"""Messages of the worker."""


class WorkerGoneError(Exception):
    """The worker died or did not answer in time."""


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
        self._life: int | None = None
        self._start()

    @property
    def is_alive(self) -> bool:
        """Whether the worker process is there."""
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """The worker process's number."""
        return self._process.pid

    def poll_needs(self) -> tuple[Part, ...] | None:
        """Return what the diagnostics need of the snapshot; None while they are being loaded."""
        if self._ready is None and self._answers.poll(0):
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
        self._close_pipes()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=1)
        self._kill()

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
            self._send(task, frames)
            while pending:
                message = self._receive(self._limit(current))
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

    def _send(self, task: Task, frames: list[bytes] | list[memoryview]) -> None:
        # A worker that does not read would hold up the consumer for ever: it is killed in time.
        deadline = threading.Timer(START_LIMIT_S, self._kill)
        deadline.start()
        try:
            self._tasks.send_bytes(msgspec.msgpack.encode(task))
            for frame in frames:
                self._tasks.send_bytes(frame)
        finally:
            deadline.cancel()

    def _limit(self, name: str | None) -> float:
        if name is None or self._ready is None:
            return START_LIMIT_S
        return self._ready.limits.get(name, START_LIMIT_S)

    def _receive(self, limit_s: float) -> Message:
        try:
            if self._answers.poll(limit_s):
                return _decoder.decode(self._answers.recv_bytes())
        except msgspec.DecodeError as error:
            raise WorkerGoneError(f"the worker process sent nonsense: {error}") from None
        except (EOFError, OSError):
            status = self._process.wait()
            raise WorkerGoneError(f"the worker process died (status {status})") from None
        raise WorkerGoneError(f"no answer within its time limit of {limit_s:g} s")

    def _wait_ready(self) -> Ready:
        """Wait until the diagnostics are loaded; one that kills the worker by that is left out."""
        loading: str | None = None
        while self._ready is None:
            try:
                message = self._receive(START_LIMIT_S)
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

    def _start(self) -> None:
        task_read, task_write = os.pipe()
        answer_read, answer_write = os.pipe()
        life_read, life_write = os.pipe()
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "diagnostics.consumer.worker",
                str(self._folder.root),
                str(task_read),
                str(answer_write),
                str(life_read),
                *self._left_out,
            ],
            stdin=subprocess.DEVNULL,
            env=os.environ
            | {"OMP_NUM_THREADS": "1", "PARLAY_NUM_THREADS": "1"}
            | self._environment,
            pass_fds=(task_read, answer_write, life_read),
            start_new_session=True,
        )
        os.close(task_read)
        os.close(answer_write)
        os.close(life_read)
        self._tasks = Connection(task_write, readable=False)
        self._answers = Connection(answer_read, writable=False)
        self._life = life_write

    def _restart(self) -> None:
        self._kill()
        self._close_pipes()
        self._ready = None
        self._start()

    def _kill(self) -> None:
        """Kill the worker and whatever it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _close_pipes(self) -> None:
        self._tasks.close()
        self._answers.close()
        if self._life is not None:
            os.close(self._life)
            self._life = None
