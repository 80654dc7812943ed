"""Random kills of real runs, and what must hold afterwards.

A campaign is judged by the history that is left behind, never by the time that it took.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from diagnostics.contract.events import EpochEnded, RunStarted, decode_event
from diagnostics.contract.folder import RunFolder
from diagnostics.contract.journal import read_journal
from diagnostics.contract.locks import is_held
from tests import cheap
from tests.conftest import ROOT, epochs_of, strict_json, tiny_config, wait_for

PATIENCE_S = 300.0


def fire_config(path: Path, **training: Any) -> Path:
    """Write a configuration whose epochs take milliseconds and whose worker loads fast."""
    config = tiny_config(**({"epochs": 10**6} | training))
    path.write_text(json.dumps(config | {"diagnostics": [cheap.NAME]}))
    return path


class Trainers:
    """Starts trainers as forks of one process that has PyTorch loaded."""

    def __init__(self) -> None:
        # A campaign starts hundreds of processes: let them find their modules compiled.
        environment = dict(os.environ) | {"OMP_NUM_THREADS": "1"}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        paths = os.pathsep.join([str(ROOT / "tests" / "patient"), str(ROOT)])
        self._server = subprocess.Popen(
            [sys.executable, str(ROOT / "tests" / "prefork.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment | {"PYTHONPATH": paths},
        )
        self.statuses: dict[int, int] = {}
        assert self._line() == ["ready"]

    def start(self, *argv: object, log: Path, **more: Any) -> int:
        """Start ``python -m trainer argv``; return its process number; for ``more`` see prefork."""
        order = {"pause_s": 0.01, "argv": [str(word) for word in argv], "log": str(log)} | more
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps(order).encode() + b"\n")
        self._server.stdin.flush()
        while len(words := self._line()) != 1:
            self.statuses[int(words[0])] = int(words[1])
        return int(words[0])

    def wait(self, pid: int) -> int:
        """Wait for a trainer's end; return its exit status."""
        while pid not in self.statuses:
            words = self._line()
            self.statuses[int(words[0])] = int(words[1])
        return self.statuses[pid]

    def close(self) -> None:
        """End the server and whatever a failed test left running."""
        for child in psutil.Process(self._server.pid).children():
            child.kill()
        self._server.communicate(timeout=10)

    def _line(self) -> list[str]:
        assert self._server.stdout is not None
        line = self._server.stdout.readline().decode().split()
        assert line, "the fork server died"
        return line


class Campaign:
    """One run under fire.

    Attributes:
        n_kills: Kills so far, by victim.
        n_inside: Those that left a half-written file behind.
    """

    def __init__(
        self,
        trainers: Trainers,
        folder: Path,
        config: Path,
        seed: int,
        wait_s: float = 0.15,
        **more: Any,
    ) -> None:
        """Start the run; kills come up to ``wait_s`` after it shows life, or when it writes."""
        self.wait_s = wait_s
        self.trainers = trainers
        self.folder = folder
        self.files = RunFolder(folder)
        self.dice = random.Random(seed)
        self.log = config.with_name(f"{folder.name}.trainer.log")
        self.n_kills = {"trainer": 0, "consumer": 0}
        self.n_inside = {"trainer": 0, "consumer": 0}
        self._journal_end = 0
        self._segment_of: int | None = None
        self.pid = trainers.start(config, "--output-dir", folder, "--quiet", log=self.log, **more)
        self.await_life()

    def kill_trainer(self) -> None:
        """Kill the trainer at a random moment of its work; the caller resumes it."""
        self._aim(self.files.checkpoint.name)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        assert self.trainers.wait(self.pid) == -signal.SIGKILL, self.last_words()
        self.n_kills["trainer"] += 1
        self.n_inside["trainer"] += self._half_written(self.files.checkpoint.name)

    def resume(self) -> None:
        """Continue the run after a kill of its trainer."""
        self.pid = self.trainers.start("--resume", self.folder, "--quiet", log=self.log)
        self.await_life()

    def kill_consumer(self) -> None:
        """Kill the diagnostics process at a random moment of its life."""
        pid = self._await(self._consumer)
        if self.dice.random() < 0.75:
            before = self._results_mark()
            self._await(lambda: self._results_mark() != before or self._consumer() != pid)
        self._aim(self.files.results.name)
        if self._consumer() != pid:
            return
        process = psutil.Process(pid)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            self.n_kills["consumer"] += 1
            with contextlib.suppress(psutil.NoSuchProcess):
                process.wait(PATIENCE_S)
            self.n_inside["consumer"] += self._half_written(self.files.results.name, pid)

    def kill_both(self) -> None:
        """Kill the trainer, and the diagnostics process while it finds out."""
        self.kill_trainer()
        pid = self._consumer()
        time.sleep(self.dice.uniform(0, 0.3))
        if pid is not None and self._consumer() == pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                self.n_kills["consumer"] += 1

    def finish(self) -> dict[str, Any]:
        """Stop the run in good order; return its results, checked against the journal."""
        os.kill(self.pid, signal.SIGTERM)
        status = self.trainers.wait(self.pid)
        assert status == 128 + signal.SIGTERM, (status, self.last_words())
        results = self.check()
        assert results["status"] == "interrupted"
        return results

    def check(self) -> dict[str, Any]:
        """Return the results of the run, which is over: complete, in order, valid."""
        self._await(lambda: not is_held(self.files.consumer_lock))
        if "did not take the last" in self.last_words():
            # The end waits a minute, no longer; then this is what the log tells the user to do.
            attach = [sys.executable, "-m", "diagnostics", str(self.folder)]
            subprocess.run(attach, check=True, cwd=ROOT, capture_output=True)
        results: dict[str, Any] = strict_json(self.files.results)
        scan = read_journal(self.files.journal)
        assert scan.fault is None
        events = [decode_event(payload) for payload in scan.payloads]
        trained = [event for event in events if isinstance(event, EpochEnded)]
        assert [event.epoch for event in trained] == list(range(1, len(trained) + 1))
        assert epochs_of(results) == list(range(1, len(trained) + 1))
        for entry, event in zip(results["training_history"], trained, strict=True):
            assert entry["train"] == event.train
            assert entry["test"] == event.test
            computed = entry["diagnostics"].get("of_epoch")
            assert computed == event.epoch or (computed is None and entry["diagnostic_errors"])
        assert not [path for path in self.folder.iterdir() if path.name.endswith(".tmp")]
        return results

    def last_words(self) -> str:
        """Return the end of what the trainers had to say."""
        return self.log.read_text()[-3000:]

    def cpu_seconds(self) -> float:
        """Return the processor time that the trainer at work has used."""
        times = psutil.Process(self.pid).cpu_times()
        return float(times.user + times.system)

    def await_life(self) -> None:
        """Wait until the trainer at work has begun its segment."""
        self._await(self._has_begun)

    def _has_begun(self) -> bool:
        assert psutil.pid_exists(self.pid), self.last_words()
        if read_journal(self.files.journal).end < self._journal_end:
            self._journal_end = 0
        scan = read_journal(self.files.journal, self._journal_end)
        self._journal_end = scan.end
        for payload in scan.payloads:
            event = decode_event(payload)
            if isinstance(event, RunStarted):
                self._segment_of = event.process.pid
        return self._segment_of == self.pid

    def _aim(self, name: str) -> None:
        """Wait for a random moment, or until ``name`` is being written, for one second at most."""
        time.sleep(self.dice.uniform(0, self.wait_s))
        if self.dice.random() < 0.5:
            deadline = time.monotonic() + 1.0
            while not self._half_written(name) and time.monotonic() < deadline:
                time.sleep(1e-4)

    def _half_written(self, name: str, pid: int | None = None) -> bool:
        end = ".tmp" if pid is None else f".{pid}.tmp"
        names = os.listdir(self.folder)
        return any(found.startswith(f".{name}.") and found.endswith(end) for found in names)

    def _results_mark(self) -> int:
        try:
            return self.files.results.stat().st_ino
        except OSError:
            return 0

    def _consumer(self) -> int | None:
        try:
            pid = int(self.files.consumer_lock.read_text() or 0)
        except (OSError, ValueError):
            return None
        return pid if pid and is_held(self.files.consumer_lock) else None

    def _await(self, condition: Callable[[], Any]) -> Any:
        return wait_for(condition, PATIENCE_S)
