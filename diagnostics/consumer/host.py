"""The host of the worker process: sends it epochs, enforces time limits, starts it again."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
from collections.abc import Mapping
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

Message = Ready | Began | Done
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)
"""Messages of the worker."""


class WorkerGoneError(Exception):
    """The worker died or did not answer in time."""


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
        self._start()

    @property
    def is_alive(self) -> bool:
        """Whether the worker process is there."""
        return self._process.poll() is None

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
        fields: dict[str, Any] = {}
        errors: dict[str, str] = {}
        owners: dict[str, str] = {}
        pending: list[str] | None = None
        while pending is None or pending:
            try:
                ready = self._wait_ready()
            except WorkerGoneError as error:
                return fields, errors | {"worker": str(error)}
            if pending is None:
                errors |= ready.errors
                pending = [name for name in ready.names if self._may_run(name, errors)]
                continue
            task = Task(
                record=encode_event(event),
                header=header,
                n_frames=len(frames),
                names=tuple(pending),
                previous=previous,
                fields=fields,
                last=last,
            )
            for done in self._perform(task, frames, pending):
                if done.error is not None:
                    errors[done.name] = done.error
                    continue
                for key, value in (done.fields or {}).items():
                    if owners.setdefault(key, done.name) != done.name:
                        errors[done.name] = f"field {key} is given by {owners[key]} already"
                    else:
                        fields[key] = value
        return fields, errors

    def close(self) -> None:
        """End the worker."""
        self._close_pipes()
        try:
            self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _may_run(self, name: str, errors: dict[str, str]) -> bool:
        if self._faults.get(name, 0) < MAX_FAULTS:
            return True
        errors[name] = f"left out after {MAX_FAULTS} hangs or crashes in a row"
        return False

    def _perform(
        self, task: Task, frames: list[bytes] | list[memoryview], pending: list[str]
    ) -> list[Done]:
        """Let the worker compute ``pending``, which is emptied as far as it got."""
        results: list[Done] = []
        current: str | None = None
        try:
            self._tasks.send_bytes(msgspec.msgpack.encode(task))
            for frame in frames:
                self._tasks.send_bytes(frame)
            while pending:
                limit_s = self._limit(current)
                message = self._receive(limit_s, current)
                if isinstance(message, Began):
                    current = message.name
                elif isinstance(message, Done):
                    results.append(message)
                    pending.remove(message.name)
                    self._faults[message.name] = 0
                    current = None
        except (WorkerGoneError, OSError) as error:
            culprit = current if current is not None else pending[0]
            pending.remove(culprit)
            self._faults[culprit] = self._faults.get(culprit, 0) + 1
            results.append(Done(culprit, None, str(error) or "the worker process died"))
            logger.warning("diagnostic %s: %s; the worker is started again", culprit, error)
            self._restart()
        return results

    def _limit(self, name: str | None) -> float:
        if name is None or self._ready is None:
            return START_LIMIT_S
        return self._ready.limits.get(name, START_LIMIT_S)

    def _receive(self, limit_s: float, name: str | None) -> Message:
        try:
            if self._answers.poll(limit_s):
                return _decoder.decode(self._answers.recv_bytes())
        except (EOFError, OSError, msgspec.DecodeError):
            status = self._process.wait()
            raise WorkerGoneError(f"the worker process died (status {status})") from None
        raise WorkerGoneError(f"no answer within its time limit of {limit_s:g} s")

    def _wait_ready(self) -> Ready:
        if self._ready is None:
            message = self._receive(START_LIMIT_S, None)
            if not isinstance(message, Ready):
                raise WorkerGoneError("the worker process did not greet")
            self._ready = message
            for name, reason in message.errors.items():
                logger.warning("diagnostic %s cannot run: %s", name, reason)
        return self._ready

    def _start(self) -> None:
        task_read, task_write = os.pipe()
        answer_read, answer_write = os.pipe()
        life_read, self._life = os.pipe()
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "diagnostics.consumer.worker",
                str(self._folder.root),
                str(task_read),
                str(answer_write),
                str(life_read),
            ],
            stdin=subprocess.DEVNULL,
            env=os.environ
            | {"OMP_NUM_THREADS": "1", "PARLAY_NUM_THREADS": "1"}
            | self._environment,
            pass_fds=(task_read, answer_write, life_read),
        )
        os.close(task_read)
        os.close(answer_write)
        os.close(life_read)
        self._tasks = Connection(task_write, readable=False)
        self._answers = Connection(answer_read, writable=False)

    def _restart(self) -> None:
        self._process.kill()
        self._process.wait()
        self._close_pipes()
        self._ready = None
        self._start()

    def _close_pipes(self) -> None:
        self._tasks.close()
        self._answers.close()
        os.close(self._life)
