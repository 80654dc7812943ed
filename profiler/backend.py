"""The boundary between profiler and trials: real processes here, `profiler.fake` in tests.

Units: seconds.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import msgspec
import psutil

from diagnostics.contract.errors import BlobwatchError
from diagnostics.contract.trials import EpochTrained, Failed, Finished, Reply, Request
from profiler import contention
from profiler.interruption import deferred
from profiler.status import KERNEL_KILLED, TrialFailure

END_WAIT_S = 5.0
ERROR_TAIL_BYTES = 8192


class TrialProcess(Protocol):
    """A trial at work."""

    def ask(self, request: Request, timeout_s: float | None) -> Iterator[Reply]:
        """Send a request and yield its replies; raise `TrialFailure` when there are no more."""
        ...

    def lost_s(self) -> tuple[float | None, float]:
        """Return the seconds that it waited for a core, and that the machine lost, so far."""
        ...

    def resident_bytes(self) -> int:
        """Return the host memory that it holds now."""
        ...

    def close(self) -> None:
        """End it, whatever it is doing."""
        ...


class Backend(Protocol):
    """Starts trials."""

    def start(self) -> TrialProcess:
        """Start a fresh trial."""
        ...

    def wait_for_cores(self, threads: int, limit_s: float) -> None:
        """Wait, not for ever, until the machine has so many cores to spare."""
        ...


class ProcessBackend:
    """Trials as processes: ``python -m trainer.trial``, each in a session of its own."""

    def __init__(self, threads: int | None = None) -> None:
        """Start every trial with so many threads; None for the trainer's own choice."""
        self._threads = threads

    def start(self) -> TrialProcess:
        with deferred() as interrupted:
            trial = RealTrial(self._environment())
            if interrupted:
                trial.close()
        return trial

    def wait_for_cores(self, threads: int, limit_s: float) -> None:
        contention.wait_for_cores(threads, limit_s)

    def _environment(self) -> dict[str, str]:
        environment = dict(os.environ)
        roots = [str(project_root())]
        if inherited := environment.get("PYTHONPATH"):
            roots.append(inherited)
        environment["PYTHONPATH"] = os.pathsep.join(roots)
        environment["PYTHONDONTWRITEBYTECODE"] = "1"
        if self._threads is not None:
            environment["OMP_NUM_THREADS"] = str(self._threads)
        return environment


class RealTrial:
    """One process and its pipes."""

    def __init__(self, environment: dict[str, str]) -> None:
        """Start it. A session of its own keeps the terminal's Ctrl+C away from it."""
        # Without a name, so that nothing is left of it however this process ends.
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process
        self._kills = contention.kernel_kills()
        self._buffer = b""
        self._decoder: msgspec.json.Decoder[Reply] = msgspec.json.Decoder(Reply)
        try:
            self._process = subprocess.Popen(
                # -P: a file of the user's in the working directory stands for no module.
                [sys.executable, "-P", "-m", "trainer.trial"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            self._errors.close()
            raise BlobwatchError(f"cannot start a trial process: {error.strerror}") from None

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def ask(self, request: Request, timeout_s: float | None) -> Iterator[Reply]:
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(msgspec.json.encode(request) + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._verdict() from None
        several = type(request).__name__ == "TrainEpochs"
        while True:
            reply = self._decoder.decode(self._line(deadline))
            if isinstance(reply, Failed):
                memory = reply.kind == "out_of_memory"
                raise TrialFailure("out_of_memory" if memory else "crashed", reply.message)
            if several and isinstance(reply, Finished):
                return
            yield reply
            if not (several and isinstance(reply, EpochTrained)):
                return

    def _line(self, deadline: float | None) -> bytes:
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        while b"\n" not in self._buffer:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not select.select([descriptor], [], [], left)[0]:
                self._kill()
                raise TrialFailure("timed_out", "no answer in time")
            chunk = os.read(descriptor, 1 << 16)
            if not chunk:
                raise self._verdict()
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def lost_s(self) -> tuple[float | None, float]:
        return contention.waited_s(self.pid), contention.stolen_s()

    def resident_bytes(self) -> int:
        try:
            return int(psutil.Process(self.pid).memory_info().rss)
        except psutil.Error:  # it is gone, or another user's by now
            return 0

    def close(self) -> None:
        self._kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._errors.close()

    def _verdict(self) -> TrialFailure:
        """Say why the process is gone."""
        try:
            code = self._process.wait(END_WAIT_S)
        except subprocess.TimeoutExpired:
            self._kill()
            return TrialFailure("crashed", "closed its output but did not end")
        if code == -signal.SIGKILL:
            return TrialFailure("killed", _killed(self._kills, contention.kernel_kills()))
        if code < 0:
            return TrialFailure("crashed", f"ended by {signal.Signals(-code).name}")
        return TrialFailure("crashed", self._last_error() or f"ended with status {code}")

    def _last_error(self) -> str:
        self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, self._errors.tell() - ERROR_TAIL_BYTES))
        lines = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1].strip() if lines else ""

    def _kill(self) -> None:
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def _killed(before: int | None, after: int | None) -> str:
    """Say what the kernel's counts of out-of-memory kills prove about a process that was killed."""
    if before is not None and after is not None and after > before:
        return KERNEL_KILLED
    proof = "did not rise" if None not in (before, after) else "is not known"
    return f"killed (SIGKILL); the kernel's count of out-of-memory kills {proof}"


def project_root() -> Path:
    """Return the folder that holds the package ``trainer``."""
    spec = find_spec("trainer")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).resolve().parent.parent
