"""The worker process: started, spoken to through pipes, killed with all that it started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import msgspec

from diagnostics.consumer.messages import Began, Done, Ready, Task

START_LIMIT_S = 120.0

Message = Ready | Began | Done
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


class WorkerGoneError(Exception):
    """The worker died or did not answer in time."""


class WorkerProcess:
    """One worker; a new one is made when it is gone."""

    def __init__(self, folder: Path, left_out: Sequence[str], environment: dict[str, str]) -> None:
        """Start it.

        Args:
            folder: The run, whose configuration says which diagnostics.
            left_out: Diagnostics that it shall not load.
            environment: Its variables beside those of this process.
        """
        task_read, task_write = os.pipe()
        answer_read, answer_write = os.pipe()
        life_read, life_write = os.pipe()
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "diagnostics.consumer.worker",
                str(folder),
                str(task_read),
                str(answer_write),
                str(life_read),
                *left_out,
            ],
            stdin=subprocess.DEVNULL,
            env=os.environ | {"OMP_NUM_THREADS": "1", "PARLAY_NUM_THREADS": "1"} | environment,
            pass_fds=(task_read, answer_write, life_read),
            start_new_session=True,
        )
        os.close(task_read)
        os.close(answer_write)
        os.close(life_read)
        self._tasks = Connection(task_write, readable=False)
        self._answers = Connection(answer_read, writable=False)
        self._life: int | None = life_write

    @property
    def is_alive(self) -> bool:
        """Whether the process is there."""
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def has_answer(self) -> bool:
        """Return whether `receive` returns at once."""
        return self._answers.poll(0)

    def send(self, task: Task, frames: list[bytes] | list[memoryview]) -> None:
        """Give it a task.

        Raises:
            OSError: It is gone.
        """
        # A worker that does not read would hold up the consumer for ever: it is killed in time.
        deadline = threading.Timer(START_LIMIT_S, self.kill)
        deadline.start()
        try:
            self._tasks.send_bytes(msgspec.msgpack.encode(task))
            for frame in frames:
                self._tasks.send_bytes(frame)
        finally:
            deadline.cancel()

    def receive(self, limit_s: float) -> Message:
        """Return its next message.

        Raises:
            WorkerGoneError: None came in time, or none will.
        """
        try:
            if self._answers.poll(limit_s):
                return _decoder.decode(self._answers.recv_bytes())
        except msgspec.DecodeError as error:
            raise WorkerGoneError(f"the worker process sent nonsense: {error}") from None
        except (EOFError, OSError):
            status = self._process.wait()
            raise WorkerGoneError(f"the worker process died (status {status})") from None
        raise WorkerGoneError(f"no answer within its time limit of {limit_s:g} s")

    def kill(self) -> None:
        """Kill it and whatever it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def close(self, grace_s: float = 0.0) -> None:
        """End it: by the end of its pipes within ``grace_s``, else by force; safe to call twice."""
        self._tasks.close()
        self._answers.close()
        if self._life is not None:
            os.close(self._life)
            self._life = None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=grace_s)
        self.kill()
