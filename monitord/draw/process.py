"""The render process seen from its parent: start, feed, wait with a limit, kill."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import msgspec

import monitord
from monitord.draw.messages import FRAME_LENGTH, Answer, encode_job
from monitord.draw.request import RenderJob

N_ERROR_BYTES = 2000
STOP_GRACE_S = 0.4


class WorkerDiedError(Exception):
    """The render process ended while it was drawing, or could not start."""


class WorkerHungError(Exception):
    """The render process took longer than it may; it has been killed."""


class WorkerStoppedError(Exception):
    """`RenderProcess.interrupt` was called."""


class RenderProcess:
    """Starts the process when it is needed and talks to it over non-blocking pipes.

    One thread calls `draw`, `stop` and `close`; any thread may call `interrupt`.

    Attributes:
        n_deaths: Deaths in a row, without an answered job between them.
        n_answers: Jobs that the latest process has answered.
        last_pid: Process id of the latest process, 0 before the first.
    """

    def __init__(self, *, nice: int) -> None:
        """Remember the priority; the process starts with the first job."""
        self.n_deaths = 0
        self.last_pid = 0
        self.n_answers = 0
        self._nice = nice
        self._child: subprocess.Popen[bytes] | None = None
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        self._wake_read, self._wake_write = os.pipe()
        self._wake_lock = threading.Lock()
        self._interrupted = False

    @property
    def pid(self) -> int | None:
        """Process id, or None while there is no process."""
        child = self._child
        return None if child is None else child.pid

    def interrupt(self) -> None:
        """Make a `draw` that is under way, or the next one, raise `WorkerStoppedError`."""
        self._interrupted = True
        with self._wake_lock, contextlib.suppress(OSError):
            if self._wake_write >= 0:
                os.write(self._wake_write, b"!")

    def draw(self, job: RenderJob, *, timeout_s: float) -> Answer:
        """Have ``job`` drawn and return the answer.

        Raises:
            WorkerDiedError: The process ended while it drew, or could not start.
            WorkerHungError: It took longer than ``timeout_s`` and was killed.
            WorkerStoppedError: `interrupt` was called; the process has been ended.
        """
        deadline = time.monotonic() + timeout_s
        child = self._child or self._start()
        assert child.stdin is not None and child.stdout is not None
        try:
            self._send(child.stdin.fileno(), b"".join(encode_job(job)), deadline)
            head = self._receive(child.stdout.fileno(), FRAME_LENGTH.size, deadline)
            (length,) = FRAME_LENGTH.unpack(head)
            data = self._receive(child.stdout.fileno(), length, deadline)
            answer = msgspec.msgpack.decode(data, type=Answer)
        except (BrokenPipeError, EOFError, msgspec.DecodeError):
            raise WorkerDiedError(self._bury(child)) from None
        except WorkerStoppedError:
            self.stop()
            raise
        except BaseException:
            self.stop(grace_s=0.0)
            raise
        self.n_deaths = 0
        self.n_answers += 1
        return answer

    def _start(self) -> subprocess.Popen[bytes]:
        """Start the process, at a lower priority, away from the terminal's Ctrl+C."""
        self._errors.seek(0)
        self._errors.truncate()
        environment = dict(os.environ)
        # The same monitord as here, also where it is not installed but run from its checkout.
        root = str(Path(monitord.__file__).resolve().parents[1])
        paths = [root, *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
        environment["PYTHONPATH"] = os.pathsep.join(paths)
        # A picture is no work for many threads, and a daemon's child should stay small.
        environment |= {"MPLBACKEND": "agg", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        child = subprocess.Popen(
            [sys.executable, "-m", "monitord.draw.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            bufsize=0,
            env=environment,
            process_group=0,
        )
        assert child.stdin is not None and child.stdout is not None
        os.set_blocking(child.stdin.fileno(), False)
        os.set_blocking(child.stdout.fileno(), False)
        with contextlib.suppress(OSError, AttributeError):
            os.setpriority(os.PRIO_PROCESS, child.pid, min(os.nice(0) + self._nice, 19))
        self._child, self.last_pid, self.n_answers = child, child.pid, 0
        return child

    def _send(self, pipe: int, data: bytes, deadline: float) -> None:
        view = memoryview(data)
        while view:
            self._wait(deadline, write=pipe)
            with contextlib.suppress(BlockingIOError):
                view = view[os.write(pipe, view) :]

    def _receive(self, pipe: int, n_bytes: int, deadline: float) -> bytes:
        data = b""
        while len(data) < n_bytes:
            self._wait(deadline, read=pipe)
            with contextlib.suppress(BlockingIOError):
                part = os.read(pipe, n_bytes - len(data))
                if not part:
                    raise EOFError
                data += part
        return data

    def _wait(self, deadline: float, *, read: int | None = None, write: int | None = None) -> None:
        """Wait until a pipe is ready."""
        poller = select.poll()
        poller.register(self._wake_read, select.POLLIN)
        if read is not None:
            poller.register(read, select.POLLIN)
        if write is not None:
            poller.register(write, select.POLLOUT)
        ready = poller.poll(max(deadline - time.monotonic(), 0.0) * 1000.0)
        if self._interrupted:
            raise WorkerStoppedError
        if not ready:
            raise WorkerHungError

    def _bury(self, child: subprocess.Popen[bytes]) -> str:
        """Collect a dead process and return how it ended, with the last line that it said."""
        self.stop(grace_s=STOP_GRACE_S)
        self.n_deaths += 1
        code = child.returncode
        if code < 0:
            with contextlib.suppress(ValueError):
                return f"ended by {signal.Signals(-code).name}"
        size = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(size - N_ERROR_BYTES, 0))
        lines = self._errors.read().decode("utf-8", "replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "no message")
        return f"ended with status {code}: {last}"

    def stop(self, *, grace_s: float = STOP_GRACE_S) -> None:
        """End the process: by the end of its input, then, after ``grace_s``, by SIGKILL."""
        child, self._child = self._child, None
        if child is None:
            return
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        try:
            child.wait(grace_s)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

    def close(self) -> None:
        """Release what is left; the object cannot be used any more."""
        self._errors.close()
        # Once only: a closed descriptor's number may soon belong to somebody else's file.
        with self._wake_lock:
            for descriptor in (self._wake_read, self._wake_write):
                if descriptor >= 0:
                    os.close(descriptor)
            self._wake_read = self._wake_write = -1
