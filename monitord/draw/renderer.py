"""Hands pictures to a process of their own, so that drawing never delays a reading.

One thread here owns the process: it starts it at the first job, feeds it one job at a time, kills
it when it hangs, starts it again when it dies, and lets it go when there is nothing to draw.
"""

from __future__ import annotations

import collections
import contextlib
import logging
import os
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

from monitord.draw.process import (
    RenderProcess,
    WorkerDiedError,
    WorkerHungError,
    WorkerStoppedError,
)
from monitord.draw.request import RenderJob

_log = logging.getLogger(__name__)

N_REPORTS_KEPT = 4096
MAX_BACKOFF_S = 60.0
# A process that dies while it draws may have been killed from outside: the job gets another try.
N_TRIES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderReport:
    """The end of a job: ``reason`` is None if the picture was written; ``took_s`` in seconds."""

    output: Path
    reason: str | None
    took_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderLimits:
    """Bounds on the render process.

    Attributes:
        max_rate_s: Least time between two pictures of the same file, in seconds.
        cpu_share: Largest share of one CPU, over times of a picture, in (0, 1].
        hang_limit_s: A picture that takes longer is given up and the process killed.
        idle_limit_s: After this long without a job the process is let go, with its memory.
        n_pictures: After this many pictures the process is replaced, so that no slow growth of its
            memory, whoever's, adds up over weeks.
        nice: Added to the priority value of the process: higher gives way to others.
    """

    max_rate_s: float = 2.0
    cpu_share: float = 0.9
    hang_limit_s: float = 60.0
    idle_limit_s: float = 300.0
    n_pictures: int = 2000
    nice: int = 5


class Renderer:
    """Draws pictures in another process; a newer job for the same file replaces a waiting one.

    Use it as a context manager or call `close`. All methods return at once except `wait_idle`.
    """

    def __init__(self, *, max_rate_s: float = 2.0, limits: RenderLimits | None = None) -> None:
        """Start the thread; the process starts with the first job."""
        self._limits = limits or RenderLimits(max_rate_s=max_rate_s)
        self._changed = threading.Condition()
        self._waiting: dict[Path, RenderJob] = {}
        self._drawing: Path | None = None
        self._due: dict[Path, float] = {}
        self._reports: collections.deque[RenderReport] = collections.deque(maxlen=N_REPORTS_KEPT)
        self._closing = False
        self._process = RenderProcess(nice=self._limits.nice)
        self._thread = threading.Thread(target=self._serve, name="renderer", daemon=True)
        self._thread.start()

    def __enter__(self) -> Renderer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def worker_pid(self) -> int | None:
        """Process id of the render process, or None while there is none."""
        return self._process.pid

    def submit(self, job: RenderJob) -> None:
        """Ask for a picture. It takes the place in the queue of a waiting one of the same file.

        Raises:
            ValueError: The renderer is closed.
        """
        with self._changed:
            if self._closing:
                raise ValueError("the renderer is closed")
            self._waiting[job.output] = job
            self._changed.notify_all()

    def poll(self) -> list[RenderReport]:
        """Return what ended since the last call, oldest first, at most the latest 4096."""
        with self._changed:
            reports = list(self._reports)
            self._reports.clear()
        return reports

    def wait_idle(self, timeout_s: float) -> bool:
        """Wait until nothing is waiting or being drawn; return False if that took too long."""
        with self._changed:
            return self._changed.wait_for(
                lambda: self._closing or not (self._waiting or self._drawing), timeout_s
            )

    def close(self) -> None:
        """Drop what is waiting and end the process, at most a second from now."""
        with self._changed:
            self._closing = True
            self._waiting.clear()
            self._changed.notify_all()
        self._process.interrupt()
        self._thread.join(timeout=1.0)
        if not self._thread.is_alive():
            self._process.close()

    def _serve(self) -> None:
        """Draw job after job until closed."""
        rest_s = 0.0
        try:
            while (job := self._next_job(rest_s)) is not None:
                rest_s = self._draw(job)
                with self._changed:
                    self._drawing = None
                    self._changed.notify_all()
        except Exception:
            _log.exception("the renderer has stopped; pictures are no longer made")
        finally:
            self._process.stop()
            with self._changed:
                self._closing, self._drawing = True, None
                self._changed.notify_all()

    def _next_job(self, rest_s: float) -> RenderJob | None:
        """Wait for a job whose file is due, not before ``rest_s`` from now; None when closing."""
        free = time.monotonic() + rest_s
        idle_since = time.monotonic()
        with self._changed:
            while not self._closing:
                now = time.monotonic()
                if len(self._due) > 2 * len(self._waiting) + 64:
                    self._due = {path: due for path, due in self._due.items() if due > now}
                dues = {path: max(self._due.get(path, 0.0), free) for path in self._waiting}
                # The first one due in order of submission: no file can starve another. Overviews
                # go before: they are few, and behind thousands of runs they would come last.
                due_now = [path for path, due in dues.items() if due <= now]
                ready = next((p for p in due_now if self._waiting[p].options.overview), None)
                if ready is not None or due_now:
                    ready = ready or due_now[0]
                    self._drawing = ready
                    self._due[ready] = now + self._limits.max_rate_s
                    return self._waiting.pop(ready)
                if dues:
                    self._changed.wait(max(min(dues.values()) - now, 0.001))
                elif self._process.pid is None:
                    self._changed.wait()
                elif now - idle_since >= self._limits.idle_limit_s:
                    self._process.stop()
                else:
                    self._changed.wait(self._limits.idle_limit_s - (now - idle_since))
        return None

    def _draw(self, job: RenderJob) -> float:
        """Draw one job; return for how many seconds to rest after it."""
        job = replace(job, output=Path(os.path.abspath(job.output)))
        started = time.monotonic()
        reason, rest_s = None, 0.0
        for attempt in range(1, N_TRIES + 1):
            try:
                answer = self._process.draw(job, timeout_s=self._limits.hang_limit_s)
            except WorkerStoppedError:
                reason = "the renderer was closed"
                self._clean_after(job)
            except WorkerHungError:
                reason = f"not ready after {self._limits.hang_limit_s:g} s; render process killed"
                self._clean_after(job)
            except (WorkerDiedError, OSError) as error:
                reason = f"render process: {error}"
                self._clean_after(job)
                # Not at once and not for ever: a process that cannot start must not spin.
                rest_s = min(0.1 * 2**self._process.n_deaths, MAX_BACKOFF_S)
                if attempt < N_TRIES and not self._closing:
                    time.sleep(min(rest_s, 0.2))
                    continue
            else:
                reason = answer.reason
                rest_s = answer.cpu_s * (1.0 / self._limits.cpu_share - 1.0)
                if self._process.n_answers >= self._limits.n_pictures:
                    self._process.stop()
            break
        if reason is not None and not self._closing:
            _log.warning("%s: picture not written: %s", job.output, reason)
        report = RenderReport(output=job.output, reason=reason, took_s=time.monotonic() - started)
        with self._changed:
            self._reports.append(report)
        return rest_s

    def _clean_after(self, job: RenderJob) -> None:
        """Remove the temporary file that a killed process may have left beside the picture."""
        ending = f".{self._process.last_pid}.tmp"
        with contextlib.suppress(OSError):
            for entry in os.scandir(job.output.parent):
                if entry.name.startswith(f".{job.output.name[:32]}") and entry.name.endswith(
                    ending
                ):
                    os.unlink(entry.path)
